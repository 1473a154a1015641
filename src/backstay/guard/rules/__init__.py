"""The arithmetic of every guard: no await, no clock, no dice.

A rule takes `now` and numbers and returns a verdict, so that production, the
property tests and the lab's simulator run the same object. Seconds are floats on
one clock that never goes back; chance is handed in as a number in [0, 1).
"""

from backstay.guard.rules.aimd_limit import AimdLimit
from backstay.guard.rules.backoff import Backoff
from backstay.guard.rules.breaker_rule import BreakerRule, BreakerSettings
from backstay.guard.rules.criticality import SHARES, Criticality
from backstay.guard.rules.gcra import Gcra
from backstay.guard.rules.gradient_limit import GradientLimit
from backstay.guard.rules.hot_keys import HotKey, HotKeys
from backstay.guard.rules.job_queue import JobQueue
from backstay.guard.rules.lag_cap import LagCap
from backstay.guard.rules.outcomes import FAIL, NEUTRAL, OK, Outcome
from backstay.guard.rules.pool_rule import PoolRule
from backstay.guard.rules.queue_delay import QueueDelay
from backstay.guard.rules.retry_budget import RetryBudget
from backstay.guard.rules.running_quantile import RunningQuantile
from backstay.guard.rules.sre_throttle import SreThrottle
from backstay.guard.rules.vegas_limit import VegasLimit
from backstay.guard.rules.windowed_counts import WindowedCounts

__all__ = [
    "FAIL",
    "NEUTRAL",
    "OK",
    "SHARES",
    "AimdLimit",
    "Backoff",
    "BreakerRule",
    "BreakerSettings",
    "Criticality",
    "Gcra",
    "GradientLimit",
    "HotKey",
    "HotKeys",
    "JobQueue",
    "LagCap",
    "Outcome",
    "PoolRule",
    "QueueDelay",
    "RetryBudget",
    "RunningQuantile",
    "SreThrottle",
    "VegasLimit",
    "WindowedCounts",
]
