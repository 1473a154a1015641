"""From the way in which a call ended to what it says about the dependency.

`rules.outcomes` is the law; here an exception is brought before it. The one thing
that takes asyncio to know is who cut a call: a `CancelledError` looks the same
whether a deadline struck or the caller went away. What tells them apart is the
ambient deadline: has it passed, the cut was its doing.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable
from typing import Any, TypeAlias, cast

from backstay import context as ambient
from backstay.errors import DeadlineExceeded, Rejected
from backstay.guard.rules.outcomes import FAIL, NEUTRAL, OK, Outcome, of_cut

__all__ = ["Counts", "On", "counts", "judge"]

On: TypeAlias = "type[BaseException] | tuple[type[BaseException], ...] | Callable[[Any], bool]"
"""Which exceptions count: a class, several, or a function of the exception."""

Counts: TypeAlias = "Callable[[BaseException], bool]"

# A deadline strikes when its timer runs, and a timer of a loop may run a little early.
_CLOSE_S = 0.002


def counts(on: On) -> Counts:
    """Return `on` as a function of the exception.

    A function that raises counts the exception as a failure, and a note on it says so: what
    a call held must be given back in any case.

    Raises:
        TypeError: it is no class of exceptions, no tuple of such, and cannot be called.
    """
    if isinstance(on, type | tuple):
        classes = cast("tuple[Any, ...]", on if isinstance(on, tuple) else (on,))
        for one in classes:
            if not (isinstance(one, type) and issubclass(one, BaseException)):
                raise TypeError(f"on= takes classes of exceptions or a function, not {one!r}")
        return lambda error: isinstance(error, classes)
    if not callable(on):
        raise TypeError(f"on= takes classes of exceptions or a function, not {on!r}")

    def counted(error: BaseException) -> bool:
        try:
            return on(error)
        except Exception as trouble:
            error.add_note(f"on={on!r} raised {trouble!r} when asked whether this error counts")
            return True

    return counted


def judge(
    error: BaseException,
    elapsed: float,
    usual: float | None,
    slow: float | None,
    counted: Counts,
    now: float,
) -> Outcome:
    """Say what a call that ended with `error` says about the dependency.

    Call it where the call ended: inside whatever set a deadline for it.

    Args:
        error: what the call raised.
        elapsed: seconds that it had been in flight.
        usual: median seconds of calls that succeeded lately; None while unknown.
        slow: seconds from which a call counts as slow; None without such a limit.
        counted: which exceptions are failures, see `counts`.
        now: seconds on the clock of `backstay.now()`.
    """
    if isinstance(error, Rejected):
        return NEUTRAL
    if isinstance(error, DeadlineExceeded | CancelledError):
        deadline = ambient.deadline()
        if deadline is not None and now >= deadline - _CLOSE_S:
            return of_cut(elapsed, usual, slow)
        if isinstance(error, CancelledError):
            return NEUTRAL
        # A timeout inside the call: the dependency's failure as any other error is.
    elif not isinstance(error, Exception):
        return NEUTRAL  # the process ends, or a generator is closed
    return FAIL if counted(error) else OK
