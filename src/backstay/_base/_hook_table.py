"""The table of hooks: one per kind of event, at hand before any of its records is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backstay._base._hooks import Hook

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

__all__ = [
    "call_rejected",
    "clock_jumped",
    "consumer_moved",
    "deadline_hit",
    "guard_moved",
    "health_moved",
    "leak_found",
    "loop_blocked",
    "loop_tracked",
    "message_returned",
    "orphans_found",
    "run_ended",
    "schedule_moved",
    "scope_ended",
    "service_moved",
    "shutdown_overrun",
]

call_rejected: Hook[CallRejected] = Hook("call_rejected")
clock_jumped: Hook[ClockJumped] = Hook("clock_jumped")
consumer_moved: Hook[ConsumerMoved] = Hook("consumer_moved")
deadline_hit: Hook[DeadlineHit] = Hook("deadline_hit")
guard_moved: Hook[GuardMoved] = Hook("guard_moved")
health_moved: Hook[HealthMoved] = Hook("health_moved")
leak_found: Hook[LeakFound] = Hook("leak_found")
loop_blocked: Hook[BlockRecord] = Hook("loop_blocked")
loop_tracked: Hook[LoopTracked] = Hook("loop_tracked")
message_returned: Hook[MessageReturned] = Hook("message_returned")
orphans_found: Hook[OrphansFound] = Hook("orphans_found")
run_ended: Hook[RunEnded] = Hook("run_ended")
schedule_moved: Hook[ScheduleMoved] = Hook("schedule_moved")
scope_ended: Hook[ScopeEnded] = Hook("scope_ended")
service_moved: Hook[ServiceMoved] = Hook("service_moved")
shutdown_overrun: Hook[ShutdownOverrun] = Hook("shutdown_overrun")
