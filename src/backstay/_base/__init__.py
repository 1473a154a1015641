"""The seam: the only reader of time and dice, the hook table, events, and measuring.

Everything above imports time, chance and hooks from here, so that a test or the
simulator can swap the whole world in one place.
"""

from typing import TYPE_CHECKING, Any

from backstay._base._acceleration import Accelerator, accelerated
from backstay._base._chance import Chance, random, reseed
from backstay._base._clock import Clock, SystemClock, follow_clock, now, use_clock, wall
from backstay._base._histogram import Histogram
from backstay._base._hook_table import (
    call_rejected,
    clock_jumped,
    consumer_moved,
    deadline_hit,
    guard_moved,
    health_moved,
    leak_found,
    loop_blocked,
    loop_tracked,
    message_returned,
    orphans_found,
    run_ended,
    schedule_moved,
    scope_ended,
    service_moved,
    shutdown_overrun,
)
from backstay._base._hooks import Hook
from backstay._base._rolling_window import RollingWindow
from backstay._base._roster import Roster, roster_callbacks
from backstay._base._statistics import HasStatistics
from backstay._base._still_frames import StillFrames

if TYPE_CHECKING:
    from backstay._base._events import (
        BlockRecord,
        CallRejected,
        ClockJumped,
        ConsumerMoved,
        DeadlineHit,
        GuardMoved,
        HealthMoved,
        LeakFound,
        LoopTracked,
        MessageReturned,
        OrphansFound,
        RunEnded,
        ScheduleMoved,
        ScopeEnded,
        ServiceMoved,
        ShutdownOverrun,
    )
    from backstay._base._secrets import HIDDEN, cover_secrets, names_a_secret, without_secrets

__all__ = [
    "HIDDEN",
    "Accelerator",
    "BlockRecord",
    "CallRejected",
    "Chance",
    "Clock",
    "ClockJumped",
    "ConsumerMoved",
    "DeadlineHit",
    "GuardMoved",
    "HasStatistics",
    "HealthMoved",
    "Histogram",
    "Hook",
    "LeakFound",
    "LoopTracked",
    "MessageReturned",
    "OrphansFound",
    "RollingWindow",
    "Roster",
    "RunEnded",
    "ScheduleMoved",
    "ScopeEnded",
    "ServiceMoved",
    "ShutdownOverrun",
    "StillFrames",
    "SystemClock",
    "accelerated",
    "call_rejected",
    "clock_jumped",
    "consumer_moved",
    "cover_secrets",
    "deadline_hit",
    "follow_clock",
    "guard_moved",
    "health_moved",
    "leak_found",
    "loop_blocked",
    "loop_tracked",
    "message_returned",
    "names_a_secret",
    "now",
    "orphans_found",
    "random",
    "reseed",
    "roster_callbacks",
    "run_ended",
    "schedule_moved",
    "scope_ended",
    "service_moved",
    "shutdown_overrun",
    "use_clock",
    "wall",
    "without_secrets",
]


# Records and patterns are a third of what `import backstay` costs, and most services need a few of them, later.
_EVENTS = frozenset(
    {
        "BlockRecord",
        "CallRejected",
        "ClockJumped",
        "ConsumerMoved",
        "DeadlineHit",
        "GuardMoved",
        "HealthMoved",
        "LeakFound",
        "LoopTracked",
        "MessageReturned",
        "OrphansFound",
        "RunEnded",
        "ScheduleMoved",
        "ScopeEnded",
        "ServiceMoved",
        "ShutdownOverrun",
    }
)
_SECRETS = frozenset({"HIDDEN", "cover_secrets", "names_a_secret", "without_secrets"})


def __getattr__(name: str) -> Any:
    """Load an event's record, or what hides secrets, on first use."""
    if name in _EVENTS:
        room = "_events"
    elif name in _SECRETS:
        room = "_secrets"
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = globals()[name] = getattr(import_module(f"backstay._base.{room}"), name)
    return found
