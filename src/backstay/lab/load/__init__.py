"""Open-loop load: arrivals fixed before the run, latency counted from the intended start.

A client that waits for each reply before it sends the next request slows down
together with the service and so hides the very stalls it should show
(coordinated omission). Here the schedule is computed first, from a seed, and
the service has no say in it.

    options = LoadOptions("http://127.0.0.1:8000", rate=200, duration_s=10)
    result = await run_load(options, WorkloadSpec("shop.workload:Checkout"))
    print(to_text(result))
"""

from backstay.lab.load._arrivals import Schedule, plan_arrivals
from backstay.lab.load._generator import generate
from backstay.lab.load._latencies import Latencies
from backstay.lab.load._options import MAX_ARRIVALS, MAX_RATE, LoadOptions, Window
from backstay.lab.load._result import (
    ERROR_KINDS,
    GroupSummary,
    LatencySummary,
    LoadResult,
    SecondRecord,
)
from backstay.lab.load._run import run_load
from backstay.lab.load._soundness import success_verdict
from backstay.lab.load._table import to_text
from backstay.lab.load._workload import Request, UrlWorkload, Workload, WorkloadSpec, url_workload

__all__ = [
    "ERROR_KINDS",
    "MAX_ARRIVALS",
    "MAX_RATE",
    "GroupSummary",
    "Latencies",
    "LatencySummary",
    "LoadOptions",
    "LoadResult",
    "Request",
    "Schedule",
    "SecondRecord",
    "UrlWorkload",
    "Window",
    "Workload",
    "WorkloadSpec",
    "generate",
    "plan_arrivals",
    "run_load",
    "success_verdict",
    "to_text",
    "url_workload",
]
