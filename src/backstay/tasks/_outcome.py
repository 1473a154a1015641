"""How a scope's block is left, decided as a plain rule.

Pure, so that the property test can compare it with a model, and so that the
table of precedence stands in one place:

1. KeyboardInterrupt and SystemExit of anybody leave at once, as themselves. One of a
   child has left by the loop already, which asyncio stops for it; where that made
   the runner cancel everything, the block joins in, since raising it once more would
   tear the clean-up of all other tasks.
2. Child errors leave as a group, together with the body's own error and a
   passed deadline.
3. An error of the body alone leaves as itself: it is the caller's own code.
4. A cancel from outside leaves as `CancelledError`.
5. A passed deadline leaves as `DeadlineExceeded`.
6. A `cancel()` is absorbed.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Sequence
from dataclasses import dataclass

from backstay.errors import Cancelled, DeadlineExceeded

__all__ = ["Outcome", "decide"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What leaves the block."""

    raises: BaseException | None  # None: nothing does
    absorbs: bool = False  # the body's CancelledError was ours and ends here
    chain: bool = False  # whether the body's error is the `__cause__` of what is raised


def decide(
    *,
    scope: str,
    body: BaseException | None,
    children: Sequence[Exception],
    fatal: BaseException | None,
    cause: DeadlineExceeded | Cancelled | None,
    outer: CancelledError | None,
    unwrap: bool,
) -> Outcome:
    """Decide how the block of `scope` is left.

    Args:
        scope: its name, for the group's message.
        body: the error with which the body ended, `CancelledError` included.
        children: errors of children in order of arrival.
        fatal: a child's KeyboardInterrupt or SystemExit.
        cause: why the scope was cut short before the body ended or while it
            waited; None when the body's own end was the reason, since a
            `CancelledError` that nobody ordered (the body awaited something
            that was cancelled elsewhere) is not the scope's to absorb.
        outer: how the cancel by somebody outside goes on, if there was one.
        unwrap: whether a single error leaves as itself.
    """
    if fatal is not None:
        return Outcome(raises=outer or fatal)
    if body is not None and not isinstance(body, Exception | CancelledError):
        return Outcome(raises=body)
    errors: list[Exception] = list(children)
    if isinstance(body, Exception) and not any(body is error for error in errors):
        errors.append(body)
    if errors:
        if not children:
            return Outcome(raises=body)
        if isinstance(cause, DeadlineExceeded):
            errors.append(_fresh(cause))
        if unwrap and len(errors) == 1:
            return Outcome(raises=errors[0])
        return Outcome(raises=ExceptionGroup(_title(scope, len(errors)), errors))
    if outer is not None:
        return Outcome(raises=outer)
    if isinstance(cause, DeadlineExceeded):
        return Outcome(raises=_fresh(cause), chain=True)
    if isinstance(cause, Cancelled) and isinstance(body, CancelledError):
        return Outcome(raises=None, absorbs=True)
    return Outcome(raises=body)


def _fresh(cause: DeadlineExceeded) -> DeadlineExceeded:
    # The scope keeps its cause; a raised error holds frames that hold the scope.
    return DeadlineExceeded(cause.scope, cause.timeout)


def _title(scope: str, count: int) -> str:
    return f"scope {scope!r}: {count} {'error' if count == 1 else 'errors'}"
