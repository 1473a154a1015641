"""What can be heard: one frozen record per event, units in the field names."""

from __future__ import annotations

from dataclasses import dataclass

from backstay._base._hooks import Hook

__all__ = [
    "BlockRecord",
    "CallRejected",
    "DeadlineHit",
    "GuardMoved",
    "LeakFound",
    "OrphansFound",
    "ScopeEnded",
    "ServiceMoved",
    "call_rejected",
    "deadline_hit",
    "guard_moved",
    "leak_found",
    "loop_blocked",
    "orphans_found",
    "scope_ended",
    "service_moved",
]


@dataclass(frozen=True, slots=True)
class ScopeEnded:
    """A scope was left and everything it had started has ended."""

    path: tuple[str, ...]  # names from the root scope to this one
    kind: str  # "scope", "request", "app", …
    lived_s: float  # seconds between enter and end
    spawned: int  # tasks started with go() over its life
    failed: int  # of these, how many ended with an error
    cause: str | None  # why it was cut short, None when it ran to its end
    trace_id: str | None


@dataclass(frozen=True, slots=True)
class DeadlineHit:
    """A deadline passed while its scope was still at work."""

    path: tuple[str, ...]
    set_by: str  # the scope whose deadline it was
    timeout_s: float | None
    trace_id: str | None


@dataclass(frozen=True, slots=True)
class OrphansFound:
    """Tasks were still alive when their owner ended."""

    path: tuple[str, ...]
    kind: str
    count: int
    sites: tuple[str, ...]  # distinct spawn sites, "file:line", at most 8
    trace_id: str | None


@dataclass(frozen=True, slots=True)
class LeakFound:
    """A verdict was told of a spawn site for the first time, or again after it had gone."""

    verdict: str  # "GROWING", "LEAKED", "LOST", "ORPHAN", "OVERDUE", "STUCK" or "UNDEAD"
    site: str  # "path:line" that started the tasks
    function: str  # that contains the line
    owner: str  # "kind name"; "" without one
    count: int  # tasks accused
    bytes_held: int | None  # memory that they hold alone, at least
    blocked_on: str
    trace_ids: tuple[str, ...]  # of requests that started them, at most 5
    advice: str


@dataclass(frozen=True, slots=True)
class BlockRecord:
    """One callback or one step of a task kept an event loop from coming round."""

    site: str  # "file:line" of the user's own code that blocks; of the innermost frame without any
    function: str  # qualified name of the function that contains the line
    duration_s: float  # seconds: all of them once `ended`, until then those that have passed
    started_at: float  # unix seconds
    ended: bool = True  # False: the loop is blocked still
    thread: str = ""  # name of the thread that runs the loop
    task: str | None = None  # name of the task that blocks; None for a bare callback
    owner_path: tuple[str, ...] = ()  # names from the root scope to the task's owner
    trace_id: str | None = None
    stack: tuple[str, ...] = ()  # "function at file:line", innermost first, at most 16


@dataclass(frozen=True, slots=True)
class CallRejected:
    """A guard said no, or would have in shadow mode."""

    guard: str  # its name
    kind: str  # "rate", "bulkhead", "breaker", "throttle", "admission", "pool", …
    reason: str  # "open", "rate", "full", "shed", "expired"
    retry_after_s: float | None
    shadow: bool = False  # True: it was counted, and the call went on


@dataclass(frozen=True, slots=True)
class GuardMoved:
    """A guard changed its state: a breaker opened, a limit was lowered by a person."""

    guard: str
    kind: str
    before: str
    after: str
    why: str


@dataclass(frozen=True, slots=True)
class ServiceMoved:
    """A service changed its state: new, starting, running, draining, exited."""

    service: str
    before: str
    after: str
    why: str


service_moved: Hook[ServiceMoved] = Hook("service_moved")
scope_ended: Hook[ScopeEnded] = Hook("scope_ended")
deadline_hit: Hook[DeadlineHit] = Hook("deadline_hit")
orphans_found: Hook[OrphansFound] = Hook("orphans_found")
call_rejected: Hook[CallRejected] = Hook("call_rejected")
guard_moved: Hook[GuardMoved] = Hook("guard_moved")
leak_found: Hook[LeakFound] = Hook("leak_found")
loop_blocked: Hook[BlockRecord] = Hook("loop_blocked")
"""Emitted when a block is noticed, each second while it lasts, and when it is over."""
