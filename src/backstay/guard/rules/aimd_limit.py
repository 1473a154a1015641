"""A concurrency limit that grows by one and falls by a tenth: what a lost call says, and no more.

For the client side of one dependency. The limit goes down when a call was dropped
(refused for overload, or cut by its time limit), and up when it was used. It knows
nothing of latency, so it needs calls that fail: put a deadline around them. In
exchange there is no baseline that could be wrong.

Additive increase, multiplicative decrease: D. Chiu and R. Jain, 1989; the form for
concurrency, its numbers and its condition on growth are `AIMDLimit` of Netflix's
concurrency-limits, except that a time limit belongs to the call there, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from backstay.guard.rules.limit_bounds import check_bounds

__all__ = ["AimdLimit"]


@dataclass(slots=True)
class AimdLimit:
    """How many calls may be in flight to a dependency, by those that were dropped.

    Attributes:
        initial: the first limit.
        least: never fewer.
        most: never more.
        backoff: what is left of the limit after a drop, >= 0.5 and < 1.
        slow: seconds from which a call counts as dropped although it came back.
        limit: how many may be in flight now.
    """

    initial: int = 20
    least: int = 1
    most: int = 200
    backoff: float = 0.9
    slow: float = inf
    limit: int = 0

    def __post_init__(self) -> None:
        """Start at `initial`.

        Raises:
            ValueError: a number is out of range.
        """
        check_bounds(self.initial, self.least, self.most)
        if not 0.5 <= self.backoff < 1:
            raise ValueError(f"backoff is at least 0.5 and below 1, not {self.backoff!r}")
        if not self.slow > 0:
            raise ValueError(f"slow is a time above 0 seconds, not {self.slow!r}")
        self.limit = self.initial

    def sample(self, rtt: float, in_flight: int, dropped: bool, now: float) -> None:
        """Learn from a call that ended.

        Args:
            rtt: seconds that it took; for one that was cut, at least that.
            in_flight: how many calls were in flight when it began, itself included.
            dropped: whether it was refused for overload or cut by its time limit.
            now: seconds on a clock that never goes back.
        """
        if dropped or rtt > self.slow:
            self.limit = max(self.least, min(self.limit - 1, int(self.limit * self.backoff)))
        elif 2 * in_flight >= self.limit:
            self.limit = min(self.most, self.limit + 1)
