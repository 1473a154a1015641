"""Every error that Backstay raises, in one tree.

::

    Exception
    └── BackstayError                 catch this to catch all of ours
        ├── NoOwner                   go() was called where no scope is open          (caller's bug; also a RuntimeError)
        ├── ScopeClosed               work was given to a scope that has ended        (caller's bug; also a RuntimeError)
        ├── ScopeMisuse               a scope was entered twice, left elsewhere, …    (caller's bug; also a RuntimeError)
        ├── SyncMisuse                a lock or group was used against its rules      (caller's bug; also a RuntimeError)
        │   └── LockMisuse            unlocked by a stranger, taken twice by one task, …
        ├── BarrierBroken             a barrier was aborted or reset                  (also a RuntimeError)
        ├── ChannelClosed             send on, receive from or close of a closed channel
        ├── GuardMisuse               a guard was set up or used against its rules    (caller's bug; also a RuntimeError)
        ├── LifecycleMisuse           components need each other in a ring, …         (caller's bug; also a RuntimeError)
        ├── StartFailed               a component did not start; what had started was stopped
        ├── ChannelMisuse             a channel was used in two event loops, …        (caller's bug; also a RuntimeError)
        ├── WouldBlock                a `…_nowait` call would have had to wait; nothing has happened
        ├── ExplorationFailure        a schedule under which the code fails  (a test's verdict; also an AssertionError)
        ├── OutsideChance             explored code does not repeat itself            (the test's bug)
        ├── UsageError                a flag, file, scenario or target is wrong       (the user's mistake: one line, exit 2)
        │   └── TargetGone            nothing answers at a pid, socket or URL
        ├── DeadlineExceeded          time ran out                                    (also a TimeoutError)
        ├── Cancelled                 why a scope was cancelled; kept as Scope.cause, never raised out of the block
        └── Rejected                  a guard said no before the work began
            ├── FullError             reason "full":    the limit on live work is reached
            ├── LimitError            reason "rate":    more calls than the rate allows
            ├── OpenError             reason "open":    the dependency is known to be in trouble
            ├── ShedError             reason "shed":    this process has more work than it can finish
            └── ExpiredError          reason "expired": the deadline had passed before the work began

Whose fault it is decides the branch: `NoOwner` and the misuses are bugs in the calling
code and are never worth a retry; `UsageError` is a person's slip;
`DeadlineExceeded` and `Rejected` are the weather, and `Rejected.retry_after`
says when to look again.
"""

from __future__ import annotations

__all__ = [
    "BackstayError",
    "BarrierBroken",
    "Cancelled",
    "ChannelClosed",
    "ChannelMisuse",
    "DeadlineExceeded",
    "ExpiredError",
    "ExplorationFailure",
    "FullError",
    "GuardMisuse",
    "LifecycleMisuse",
    "LimitError",
    "LockMisuse",
    "NoOwner",
    "OpenError",
    "OutsideChance",
    "Rejected",
    "ScopeClosed",
    "ScopeMisuse",
    "ShedError",
    "StartFailed",
    "SyncMisuse",
    "TargetGone",
    "UsageError",
    "WouldBlock",
]


class BackstayError(Exception):
    """The root of all errors that Backstay raises on purpose."""


class NoOwner(BackstayError, RuntimeError):
    """`go()` was called where no scope is open, so the task would belong to nobody."""


class ScopeClosed(BackstayError, RuntimeError):
    """Work was given to a scope that has already ended and so cannot own it."""


class ScopeMisuse(BackstayError, RuntimeError):
    """A scope was entered twice, or left in another task than the one that entered it."""


class SyncMisuse(BackstayError, RuntimeError):
    """A primitive of `backstay.sync` was used against its rules: a bug in the calling code.

    For example a `WaitGroup` counted below zero, a `Semaphore` given back more
    than was taken, or anything waited for in two event loops at a time.
    """


class LockMisuse(SyncMisuse):
    """A lock was unlocked by a stranger, taken twice by one task, or held by a task that ended.

    Attributes:
        lock: the name of the lock.
        holder: the name of the task that holds it, or None when nobody does.
        held_s: seconds for which it has been held, or None when nobody holds it.
    """

    def __init__(
        self, message: str, *, lock: str, holder: str | None = None, held_s: float | None = None
    ) -> None:
        """Keep who holds what since when, beside the sentence for people."""
        super().__init__(message)
        self.lock = lock
        self.holder = holder
        self.held_s = held_s

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        """Support pickling in spite of the keyword-only arguments."""
        return _rebuild_lock_misuse, (type(self), str(self), self.lock, self.holder, self.held_s)


class BarrierBroken(BackstayError, RuntimeError):
    """The barrier was aborted or reset, so its parties will never be complete."""


class ChannelClosed(BackstayError):
    """The channel is closed: it takes no more items, or has none left.

    To a receiver it is the normal end of the stream, which `async for` and
    `recv2` tell without an error. To a sender, or to whoever closes twice, it
    says that two tasks disagree about who ends the stream: let the one that
    sends be the one that closes.
    """


class LifecycleMisuse(BackstayError, RuntimeError):
    """A service was declared or used against its rules."""


class StartFailed(BackstayError):
    """A component did not start, or not in time; those that had started were stopped.

    Attributes:
        component: its name.
    """

    def __init__(self, message: str, *, component: str) -> None:
        """Say which one and why; the error of the component is the cause."""
        super().__init__(message)
        self.component = component

    def __reduce__(self) -> tuple[object, ...]:
        """Survive pickling, with the name."""
        return _rebuild_start_failed, (self.args[0], self.component)


def _rebuild_start_failed(message: str, component: str) -> StartFailed:
    return StartFailed(message, component=component)


class ChannelMisuse(BackstayError, RuntimeError):
    """A channel was used where it cannot work, such as in a second event loop."""


class GuardMisuse(BackstayError, RuntimeError):
    """A guard was used against its rules, for example given back more often than taken."""


class WouldBlock(BackstayError):
    """A call that never waits would have had to; nothing has happened."""


class ExplorationFailure(BackstayError, AssertionError):
    """A schedule was found under which the explored code fails.

    The message is the whole report; `__cause__` is the error of the explored code.

    Attributes:
        replay: the schedule as a short string, for `backstay.testing.replay` and
            for pytest's ``--backstay-replay``.
        trace: the schedule for people, one line per step.
        kind: "error" (the scenario raised), "deadlock", "budget" (too many steps),
            "callback" (a callback raised), "unretrieved" (a task failed and nobody
            looked) or "refuses to end" (a task that survives its cancellation).
        schedules: how many schedules had been run by then.
    """

    def __init__(
        self, report: str, *, replay: str, trace: tuple[str, ...], kind: str, schedules: int
    ) -> None:
        """Keep the report and its parts."""
        super().__init__(report)
        self.report = report
        self.replay = replay
        self.trace = trace
        self.kind = kind
        self.schedules = schedules

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        """Support pickling in spite of the keyword-only arguments."""
        return _rebuild_failure, (
            type(self),
            self.report,
            self.replay,
            self.trace,
            self.kind,
            self.schedules,
        )


class OutsideChance(BackstayError):
    """The same schedule run twice took two courses: something outside the explorer decides.

    The message names the first step that differs. Usual suspects: the wall clock,
    `os.urandom` and `uuid`, the order of a set of objects, a cache that outlives
    the scenario, threads.
    """


class UsageError(BackstayError):
    """A person's mistake in a flag, a file, a scenario or a target.

    The message is one line that names the value seen, what was expected and
    what to do. The command line prints it without a traceback and exits with 2.
    """


class TargetGone(UsageError):
    """Nothing that speaks our protocol answers at the given pid, socket or URL."""


class DeadlineExceeded(BackstayError, TimeoutError):
    """Time ran out.

    Attributes:
        scope: the name of the scope that set the deadline; with nested
            deadlines this is the one to look at, and not always the one that
            raised.
        timeout: seconds that this scope had asked for, or None when it was
            given an absolute deadline.
    """

    def __init__(self, scope: str, timeout: float | None = None) -> None:
        """Say which scope's deadline passed, and how long it had been."""
        took = "its deadline" if timeout is None else f"its timeout of {timeout:g} s"
        super().__init__(f"scope {scope!r} ran past {took}")
        self.scope = scope
        self.timeout = timeout

    def __reduce__(self) -> tuple[type[DeadlineExceeded], tuple[str, float | None]]:
        """Support pickling, which rebuilds an exception from its constructor's arguments."""
        return type(self), (self.scope, self.timeout)


class Cancelled(BackstayError):
    """Why a scope was cancelled on purpose.

    It is a record rather than a signal: find it as `Scope.cause`. What travels
    through the tasks is asyncio's own `CancelledError`.

    Attributes:
        reason: the words given to `Scope.cancel`, or the error that caused it.
    """

    def __init__(self, reason: str) -> None:
        """Keep the reason in the words of whoever cancelled."""
        super().__init__(reason)
        self.reason = reason


class Rejected(BackstayError):
    """A guard said no before any work began, so nothing has to be undone.

    Attributes:
        reason: one word for machines, for example ``"full"``.
        policy: the name of the scope, guard or policy that refused.
        retry_after: seconds after which a new try may succeed, or None when
            the guard cannot tell.
    """

    reason = "rejected"

    def __init__(self, message: str, *, policy: str, retry_after: float | None = None) -> None:
        """Keep who refused and when to come back, beside the sentence for people."""
        super().__init__(message)
        self.message = message
        self.policy = policy
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        """Support pickling in spite of the keyword-only arguments."""
        return _rebuild_rejected, (type(self), self.message, self.policy, self.retry_after)


class FullError(Rejected):
    """The limit on live work is reached; nothing was started."""

    reason = "full"


class LimitError(Rejected):
    """More calls than the rate allows; `retry_after` is when the next one fits."""

    reason = "rate"


class OpenError(Rejected):
    """The dependency is known to be in trouble, so the call was not made."""

    reason = "open"


class ShedError(Rejected):
    """This process has more work than it can finish in time, so none more is begun."""

    reason = "shed"


class ExpiredError(Rejected):
    """The deadline had passed before the work began; nothing was started."""

    reason = "expired"


def _rebuild_rejected(
    kind: type[Rejected], message: str, policy: str, retry_after: float | None
) -> Rejected:
    return kind(message, policy=policy, retry_after=retry_after)


def _rebuild_lock_misuse(
    kind: type[LockMisuse], message: str, lock: str, holder: str | None, held_s: float | None
) -> LockMisuse:
    return kind(message, lock=lock, holder=holder, held_s=held_s)


def _rebuild_failure(
    kind_of: type[ExplorationFailure],
    report: str,
    replay: str,
    trace: tuple[str, ...],
    kind: str,
    schedules: int,
) -> ExplorationFailure:
    return kind_of(report, replay=replay, trace=trace, kind=kind, schedules=schedules)
