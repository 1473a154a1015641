"""The seam: the only reader of time and dice, the hook table, events, and measuring.

Everything above imports time, chance and hooks from here, so that a test or the
simulator can swap the whole world in one place.
"""

from backstay._base._acceleration import Accelerator, accelerated
from backstay._base._chance import Chance, random, reseed
from backstay._base._clock import Clock, SystemClock, follow_clock, now, use_clock, wall
from backstay._base._events import (
    BlockRecord,
    CallRejected,
    DeadlineHit,
    GuardMoved,
    LeakFound,
    OrphansFound,
    ScopeEnded,
    ServiceMoved,
    call_rejected,
    deadline_hit,
    guard_moved,
    leak_found,
    loop_blocked,
    orphans_found,
    scope_ended,
    service_moved,
)
from backstay._base._histogram import Histogram
from backstay._base._hooks import Hook
from backstay._base._rolling_window import RollingWindow
from backstay._base._statistics import HasStatistics
from backstay._base._still_frames import StillFrames

__all__ = [
    "Accelerator",
    "BlockRecord",
    "CallRejected",
    "Chance",
    "Clock",
    "DeadlineHit",
    "GuardMoved",
    "HasStatistics",
    "Histogram",
    "Hook",
    "LeakFound",
    "OrphansFound",
    "RollingWindow",
    "ScopeEnded",
    "ServiceMoved",
    "StillFrames",
    "SystemClock",
    "accelerated",
    "call_rejected",
    "deadline_hit",
    "follow_clock",
    "guard_moved",
    "leak_found",
    "loop_blocked",
    "now",
    "orphans_found",
    "random",
    "reseed",
    "scope_ended",
    "service_moved",
    "use_clock",
    "wall",
]
