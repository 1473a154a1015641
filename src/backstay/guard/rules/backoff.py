"""How long to wait before trying again.

Full jitter (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog,
2015): a random time between nothing and a bound that doubles. Callers that failed
together must not come back together, and of the ways to spread them this one does
the least work in all.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Backoff"]


@dataclass(frozen=True, slots=True)
class Backoff:
    """A bound that grows with each attempt, and a random share of it.

    Attributes:
        first: seconds, the bound before the second attempt, >= 0.
        most: seconds, the bound at most, >= first.
        factor: by which the bound grows, >= 1.
    """

    first: float = 0.05
    most: float = 1.0
    factor: float = 2.0

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: one is out of range.
        """
        if not 0 <= self.first <= self.most:
            raise ValueError(f"0 <= first <= most is needed, not {self.first!r} and {self.most!r}")
        if not self.factor >= 1:
            raise ValueError(f"the factor is at least 1, not {self.factor!r}")

    def bound(self, attempt: int) -> float:
        """Return the longest pause before `attempt` (2, 3, …), in seconds."""
        if self.first == 0:
            return 0.0
        power = min(attempt - 2, 64)  # beyond that it is `most` whatever the factor
        return min(self.most, self.first * self.factor**power)

    def pause(self, attempt: int, dice: float) -> float:
        """Return the pause before `attempt`, for a number in [0, 1)."""
        return self.bound(attempt) * dice
