"""What can be heard: one frozen record per event, units in the field names.

Loaded when the first of them is made, since fifteen dataclasses cost a third of `import backstay`.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
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
    """One callback or one step of a task kept an event loop from coming round.

    Told when the block is noticed, each second while it lasts, and when it is over.
    """

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
class LoopTracked:
    """The tasks of a loop are tracked from now on; told in the thread that asked for it."""

    loop: object  # the event loop; this layer knows no asyncio


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


@dataclass(frozen=True, slots=True)
class ShutdownOverrun:
    """A process that was told to end did not manage to within its grace."""

    what: str  # what was cut or is in the way, in one sentence
    last: bool = False  # True: the process is ended right after this, from another thread


@dataclass(frozen=True, slots=True)
class ConsumerMoved:
    """A consumer of messages changed its state: new, running, draining, exited."""

    consumer: str
    before: str
    after: str
    why: str


@dataclass(frozen=True, slots=True)
class MessageReturned:
    """A message was not simply acknowledged."""

    consumer: str
    message_id: str  # the publisher's
    attempt: int  # the number of the handling, 1, 2, …
    outcome: str  # "held", "retried", "dead", "given back" or "lost"
    reason: str
    delay_s: float  # until it is tried again, at least
    trace_id: str | None  # None when it was not handled


@dataclass(frozen=True, slots=True)
class ScheduleMoved:
    """A schedule changed its state: new, running, draining, exited."""

    schedule: str
    before: str
    after: str
    why: str


@dataclass(frozen=True, slots=True)
class RunEnded:
    """A planned run came to its end, or was given up."""

    schedule: str
    planned_at: float  # unix seconds
    outcome: str  # "done", "failed", "deadline", …: see `lifecycle.RunRecord`
    late_s: float
    took_s: float
    error: str


@dataclass(frozen=True, slots=True)
class ClockJumped:
    """The clock on the wall was set, or the machine was asleep."""

    noticed_by: str  # the schedule
    seconds: float  # negative when it was set back


@dataclass(frozen=True, slots=True)
class HealthMoved:
    """A dependency came up, or went down."""

    health: str
    check: str
    before: str  # "starting", "up" or "down"
    after: str
    critical: bool
    error: str  # the last one, without secrets
