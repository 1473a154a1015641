"""Starting and stopping in order: readiness, signals, and a shutdown that fits its budget.

Pure objects that decide, for the servers in `integrations` and for programs of
one's own.
"""

from backstay.lifecycle._agenda import Agenda, Missed
from backstay.lifecycle._check_rule import CheckRecord, CheckState
from backstay.lifecycle._component import ComponentRecord, ComponentState
from backstay.lifecycle._consumer import Consumer
from backstay.lifecycle._consumer_statistics import ConsumerState, ConsumerStatistics
from backstay.lifecycle._delivery import Delivery, Subscription
from backstay.lifecycle._health import (
    Health,
    HealthState,
    HealthStatistics,
    health_document,
    missing_dependencies,
    running_health,
)
from backstay.lifecycle._hooks import Hooked, register_hook, registered_hooks
from backstay.lifecycle._inbox import Inbox, MemoryInbox, MemoryTransaction, once
from backstay.lifecycle._lease import Lease, LeaseGrant, MemoryLease
from backstay.lifecycle._leftovers import Leftover, leftovers
from backstay.lifecycle._local_time import next_instant
from backstay.lifecycle._process import run_service
from backstay.lifecycle._readiness import Readiness
from backstay.lifecycle._redelivery import Redelivery, Verdict
from backstay.lifecycle._schedule import Schedule
from backstay.lifecycle._schedule_records import Run, RunRecord, ScheduleState, ScheduleStatistics
from backstay.lifecycle._service import Service, ServiceRecord, ServiceState, run_hooks
from backstay.lifecycle._shutdown import PhaseRecord, ShutdownBudget, ShutdownRecord
from backstay.lifecycle._signals import SignalCount, Stop, exit_code, heed_signals
from backstay.lifecycle._sqlite_inbox import SqliteInbox, SqliteTransaction
from backstay.lifecycle._timetable import Every, Timetable
from backstay.lifecycle._watchdog import ExitWatchdog

__all__ = [
    "Agenda",
    "CheckRecord",
    "CheckState",
    "ComponentRecord",
    "ComponentState",
    "Consumer",
    "ConsumerState",
    "ConsumerStatistics",
    "Delivery",
    "Every",
    "ExitWatchdog",
    "Health",
    "HealthState",
    "HealthStatistics",
    "Hooked",
    "Inbox",
    "Lease",
    "LeaseGrant",
    "Leftover",
    "MemoryInbox",
    "MemoryLease",
    "MemoryTransaction",
    "Missed",
    "PhaseRecord",
    "Readiness",
    "Redelivery",
    "Run",
    "RunRecord",
    "Schedule",
    "ScheduleState",
    "ScheduleStatistics",
    "Service",
    "ServiceRecord",
    "ServiceState",
    "ShutdownBudget",
    "ShutdownRecord",
    "SignalCount",
    "SqliteInbox",
    "SqliteTransaction",
    "Stop",
    "Subscription",
    "Timetable",
    "Verdict",
    "exit_code",
    "health_document",
    "heed_signals",
    "leftovers",
    "missing_dependencies",
    "next_instant",
    "once",
    "register_hook",
    "registered_hooks",
    "run_hooks",
    "run_service",
    "running_health",
]
