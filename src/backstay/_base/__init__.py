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
)
from backstay._base._histogram import Histogram
from backstay._base._hooks import Hook
from backstay._base._rolling_window import RollingWindow
from backstay._base._secrets import HIDDEN, cover_secrets, names_a_secret, without_secrets
from backstay._base._statistics import HasStatistics
from backstay._base._still_frames import StillFrames

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
    "RunEnded",
    "ScheduleMoved",
    "ScopeEnded",
    "ServiceMoved",
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
    "run_ended",
    "schedule_moved",
    "scope_ended",
    "service_moved",
    "use_clock",
    "wall",
    "without_secrets",
]
