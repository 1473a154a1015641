"""What becomes of a message whose handler has failed: when it comes again, and when never.

Why pure: the rule takes numbers and an error and returns a verdict, so that a test can ask it a
thousand questions and a consumer asks it one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from backstay.errors import Rejected

__all__ = ["Redelivery", "Verdict"]


# A guard that says no in no time must not be asked in a tight loop.
_LEAST_HOLD_S = 0.05


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with a message.

    Attributes:
        action: "handle" it, "hold" it and try again here, give it back to "retry", or call it "dead".
        delay: seconds before the next try, for "hold" and "retry".
        reason: why, for people; "" for "handle".
    """

    action: Literal["handle", "hold", "retry", "dead"]
    delay: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Redelivery:
    """How often a message is tried, how long it waits in between, and who is to blame.

    An error of `blameless` says nothing about the message: the dependency is away, or a guard
    has said no. Such a message is held and tried again here, however long that takes. It counts
    no attempt, and as it keeps its place, a dependency that is away stops the pulling by itself.

    Attributes:
        max_attempts: handlings that may fail before the message is dead, >= 1.
        first: seconds, the longest wait after the first failure, >= 0.
        most: seconds, the longest wait of all, >= first.
        factor: by which the longest wait grows, >= 1.
        blameless: errors that are not the message's fault.
        poison: errors that another try cannot mend: the message is dead at once.
        max_deliveries: deliveries after which a message is dead without being handled, since none
            of them came to an end: it kills the process, perhaps. Twice `max_attempts` when None.
    """

    max_attempts: int = 5
    first: float = 1.0
    most: float = 60.0
    factor: float = 2.0
    blameless: tuple[type[Exception], ...] = (Rejected,)
    poison: tuple[type[Exception], ...] = ()
    max_deliveries: int | None = None

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: one is out of range.
        """
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts is at least 1, not {self.max_attempts!r}")
        if not 0 <= self.first <= self.most < float("inf"):
            raise ValueError(f"0 <= first <= most is needed, not {self.first!r} and {self.most!r}")
        if not self.factor >= 1:
            raise ValueError(f"the factor is at least 1, not {self.factor!r}")
        if self.max_deliveries is not None and self.max_deliveries < self.max_attempts:
            raise ValueError(
                f"max_deliveries is at least max_attempts ({self.max_attempts}), not {self.max_deliveries!r}"
            )

    def arrived(self, attempt: int) -> Verdict:
        """Judge a message that has just been delivered for the `attempt`-th time."""
        most = 2 * self.max_attempts if self.max_deliveries is None else self.max_deliveries
        if attempt > most:
            return Verdict(
                "dead",
                reason=f"{attempt - 1} deliveries came to no end: does it kill its consumer?",
            )
        return Verdict("handle")

    def failed(self, attempt: int, error: BaseException, dice: float) -> Verdict:
        """Judge a message whose handling has failed.

        Args:
            attempt: the number of this attempt: 1, 2, …
            error: what the handler raised. Of a group everything must be blameless for the
                message to be so, and one poison is enough.
            dice: a number in [0, 1).
        """
        leaves = _leaves(error)
        reason = "; ".join(f"{type(leaf).__name__}: {leaf}" for leaf in leaves[:3])
        if any(isinstance(leaf, self.poison) for leaf in leaves):
            return Verdict("dead", reason=reason)
        if all(isinstance(leaf, self.blameless) for leaf in leaves):
            asked = [leaf.retry_after or 0.0 for leaf in leaves if isinstance(leaf, Rejected)]
            pause = max(self._spread(1, dice), _LEAST_HOLD_S, *asked)
            return Verdict("hold", pause, reason)
        if attempt >= self.max_attempts:
            return Verdict("dead", reason=f"attempt {attempt} of {self.max_attempts}: {reason}")
        return Verdict("retry", self._spread(attempt, dice), reason)

    def _spread(self, attempt: int, dice: float) -> float:
        """Return a wait between half of the bound and the bound.

        Not the full jitter of a retry: a message that comes back in no time has only used up an
        attempt, and the half keeps those that failed together apart well enough.
        """
        if self.first == 0:
            return 0.0
        bound = min(self.most, self.first * self.factor ** min(attempt - 1, 64))
        return bound * (0.5 + 0.5 * dice)


def _leaves(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    parts = cast("tuple[BaseException, ...]", error.exceptions)
    return [leaf for part in parts for leaf in _leaves(part)]
