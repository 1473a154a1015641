"""The whole root-cause flow in one answer: what is wrong, which line, for which requests, what to do.

`survey()` looks at a process twice and has its tasks sampled in between; `judge()`, which is pure,
makes of that a `Diagnosis`: findings, worst first. Growth is judged by the rule of `backstay.leak`.
`AlertReceiver`, `AlertQueue` and `Shelf` make a report of each alert that an Alertmanager sends.
"""

from backstay.observe.diagnose._alert import Alert, read_alerts, target_of
from backstay.observe.diagnose._cause import Cause
from backstay.observe.diagnose._diagnosis import Diagnosis, Fact, judge
from backstay.observe.diagnose._look import Look
from backstay.observe.diagnose._memory import Allocation, allocations
from backstay.observe.diagnose._moves import Move
from backstay.observe.diagnose._page import page, write_page
from backstay.observe.diagnose._queue import AlertQueue
from backstay.observe.diagnose._receiver import AlertReceiver
from backstay.observe.diagnose._requests import check_trace_url, with_requests
from backstay.observe.diagnose._shelf import Shelf
from backstay.observe.diagnose._survey import survey
from backstay.observe.diagnose._text import to_text

__all__ = [
    "Alert",
    "AlertQueue",
    "AlertReceiver",
    "Allocation",
    "Cause",
    "Diagnosis",
    "Fact",
    "Look",
    "Move",
    "Shelf",
    "allocations",
    "check_trace_url",
    "judge",
    "page",
    "read_alerts",
    "survey",
    "target_of",
    "to_text",
    "with_requests",
    "write_page",
]
