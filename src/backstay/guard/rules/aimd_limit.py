"""A concurrency limit that creeps up and falls by a tenth: what a lost call says, and no more.

For the client side of one dependency. The limit goes down when a call was dropped
(refused for overload, or cut by its time limit), and up while it is used. It knows
nothing of latency, so it needs calls that fail: put a deadline around them. In
exchange there is no baseline that could be wrong.

Additive increase, multiplicative decrease: D. Chiu and R. Jain, 1989. For concurrency
it is `AIMDLimit` of Netflix's concurrency-limits, whose numbers and condition on
growth are kept: a tenth off for a drop, one more for a call that returned when half
of the limit was in use. There, each call moves it. But calls that wait in one queue
run into their time limits together: thirty of them leave a twenty-fifth of the limit,
and a dependency with thirty workers then did 62 % of what it can. So each counts for
its share of those in flight, as in TCP: a cut once for all that were in flight
together (fast recovery, RFC 6582), and after the first cut, one more for all of them
together that returned (congestion avoidance, RFC 5681). That does 93 %.
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
        estimate: the limit with its fraction.
        cut: when it was lowered last; what began before was in flight under the old limit.
    """

    initial: int = 20
    least: int = 1
    most: int = 200
    backoff: float = 0.9
    slow: float = inf
    estimate: float = 0.0
    cut: float = -inf

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
        self.estimate = float(self.initial)

    @property
    def limit(self) -> int:
        """How many may be in flight now."""
        return int(self.estimate)

    def sample(self, rtt: float, in_flight: int, dropped: bool, now: float) -> None:
        """Learn from a call that ended.

        Args:
            rtt: seconds that it took; for one that was cut, at least that.
            in_flight: how many calls were in flight when it began, itself included.
            dropped: whether it was refused for overload or cut by its time limit.
            now: seconds on a clock that never goes back.
        """
        if dropped or rtt > self.slow:
            if now - rtt >= self.cut:
                self.cut = now
                self.estimate = max(float(self.least), self.estimate * self.backoff)
        elif 2 * in_flight >= self.estimate:
            grown = self.estimate + (1.0 if self.cut == -inf else 1.0 / self.estimate)
            self.estimate = min(float(self.most), grown)
