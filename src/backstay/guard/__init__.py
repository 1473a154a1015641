"""Guards: what says yes, wait or no to a call, so that a service lets in what it can finish.

`backstay.guard.rules` decides, in plain arithmetic; what is here waits, counts
and raises. `Policy` puts several around one dependency, in the one right order.
"""

from backstay.guard._adaptive_bulkhead import (
    AdaptiveBulkhead,
    AdaptiveBulkheadStatistics,
    AdaptivePermit,
    LimitRule,
)
from backstay.guard._adaptive_rate import (
    AdaptiveRate,
    AdaptiveRatePermit,
    AdaptiveRateStatistics,
    SourceState,
)
from backstay.guard._admission import Admission, AdmissionPermit, AdmissionStatistics
from backstay.guard._blocking_workers import BlockingWorkers, thread_workers
from backstay.guard._breaker import Breaker, BreakerStatistics
from backstay.guard._budget import Budget, BudgetStatistics
from backstay.guard._bulkhead import Bulkhead, BulkheadStatistics
from backstay.guard._deadline import Deadline, DeadlineStatistics
from backstay.guard._fallback import Fallback, FallbackStatistics, LastGood
from backstay.guard._gate import Gate, GateHold, GateStatistics
from backstay.guard._guard import Guard, Mode, find, guards
from backstay.guard._hedge import Hedge, HedgeStatistics
from backstay.guard._job import Job, JobRecord
from backstay.guard._judgement import On
from backstay.guard._keyed_rate import KeyedRate, KeyedRateStatistics
from backstay.guard._policy import Policy
from backstay.guard._policy_permit import PolicyPermit
from backstay.guard._policy_statistics import PolicyStatistics
from backstay.guard._pool import Pool
from backstay.guard._pool_block import Taken
from backstay.guard._pool_records import Holding, PoolStatistics
from backstay.guard._rate import Rate, RatePermit, RateStatistics
from backstay.guard._retry import TRANSIENT, Retry, RetryStatistics
from backstay.guard._shared_rate import SharedRate
from backstay.guard._shared_rate_records import (
    MemoryStore,
    OnStoreDown,
    RateStore,
    SharedPermit,
    SharedRateStatistics,
)
from backstay.guard._throttle import Throttle, ThrottleStatistics
from backstay.guard._throughput_source import CounterSource, ThroughputSource
from backstay.guard._worker_processes import WorkerDied, process_workers
from backstay.guard._worker_settings import OnFull, WorkerOptions
from backstay.guard._worker_statistics import WorkerStatistics
from backstay.guard._workers import WorkerPool
from backstay.guard.rules.paced_queue import Pace
from backstay.guard.rules.throughput_limit import Throughput, ThroughputLimit
from backstay.guard.rules.warm_up import WarmUp

__all__ = [
    "TRANSIENT",
    "AdaptiveBulkhead",
    "AdaptiveBulkheadStatistics",
    "AdaptivePermit",
    "AdaptiveRate",
    "AdaptiveRatePermit",
    "AdaptiveRateStatistics",
    "Admission",
    "AdmissionPermit",
    "AdmissionStatistics",
    "BlockingWorkers",
    "Breaker",
    "BreakerStatistics",
    "Budget",
    "BudgetStatistics",
    "Bulkhead",
    "BulkheadStatistics",
    "CounterSource",
    "Deadline",
    "DeadlineStatistics",
    "Fallback",
    "FallbackStatistics",
    "Gate",
    "GateHold",
    "GateStatistics",
    "Guard",
    "Hedge",
    "HedgeStatistics",
    "Holding",
    "Job",
    "JobRecord",
    "KeyedRate",
    "KeyedRateStatistics",
    "LastGood",
    "LimitRule",
    "MemoryStore",
    "Mode",
    "On",
    "OnFull",
    "OnStoreDown",
    "Pace",
    "Policy",
    "PolicyPermit",
    "PolicyStatistics",
    "Pool",
    "PoolStatistics",
    "Rate",
    "RatePermit",
    "RateStatistics",
    "RateStore",
    "Retry",
    "RetryStatistics",
    "SharedPermit",
    "SharedRate",
    "SharedRateStatistics",
    "SourceState",
    "Taken",
    "Throttle",
    "ThrottleStatistics",
    "Throughput",
    "ThroughputLimit",
    "ThroughputSource",
    "WarmUp",
    "WorkerDied",
    "WorkerOptions",
    "WorkerPool",
    "WorkerStatistics",
    "find",
    "guards",
    "process_workers",
    "thread_workers",
]
