"""Starting and stopping in order: readiness, signals, and a shutdown that fits its budget.

Pure objects that decide, for the servers in `integrations` and for programs of
one's own.
"""

from backstay.lifecycle._component import ComponentRecord, ComponentState
from backstay.lifecycle._hooks import Hooked, register_hook, registered_hooks
from backstay.lifecycle._leftovers import Leftover, leftovers
from backstay.lifecycle._readiness import Readiness
from backstay.lifecycle._service import Service, ServiceRecord, ServiceState, run_hooks
from backstay.lifecycle._shutdown import PhaseRecord, ShutdownBudget, ShutdownRecord
from backstay.lifecycle._signals import SignalCount, Stop, exit_code, heed_signals
from backstay.lifecycle._watchdog import ExitWatchdog

__all__ = [
    "ComponentRecord",
    "ComponentState",
    "ExitWatchdog",
    "Hooked",
    "Leftover",
    "PhaseRecord",
    "Readiness",
    "Service",
    "ServiceRecord",
    "ServiceState",
    "ShutdownBudget",
    "ShutdownRecord",
    "SignalCount",
    "Stop",
    "exit_code",
    "heed_signals",
    "leftovers",
    "register_hook",
    "registered_hooks",
    "run_hooks",
]
