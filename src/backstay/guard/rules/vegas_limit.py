"""A concurrency limit by the queue that it causes: TCP Vegas, for calls.

While nothing queues, a call takes the least time that any has taken. What it takes
longer was spent in a queue, and by Little's law that queue holds
``limit * (1 - least / rtt)`` calls. The limit is moved so that a few always wait:
enough to know that there is no more to have, too few to be late.

It believes that one time is right for all calls. Where fast and slow calls share a
dependency, or the time depends on the question, the fast ones set the least and the
slow ones look like a queue as soon as the limit is in use. So it is for one dependency
and one kind of call, on the client side, and not for a server.

Vegas: L. Brakmo and L. Peterson, 1995. The form for concurrency, with thresholds in
log10 of the limit and a least time that is measured anew now and then, is
`VegasLimit` of Netflix's concurrency-limits.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf, log10

from backstay.guard.rules.limit_bounds import check_bounds

__all__ = ["VegasLimit"]

_PROBE = 30  # samples per call of the limit after which the least time is measured anew
_GOLDEN = 0.6180339887498949  # its multiples spread evenly over [0, 1) without dice (Weyl, 1916)


@dataclass(slots=True)
class VegasLimit:
    """How many calls may be in flight to a dependency, by how long they take.

    Attributes:
        initial: the first limit.
        least: never fewer.
        most: never more.
        estimate: the limit with its fraction.
        base: seconds that a call takes when nothing queues; infinite while unknown.
    """

    initial: int = 20
    least: int = 1
    most: int = 1000
    estimate: float = 0.0
    base: float = inf
    _seen: int = 0  # samples since the base was measured
    _probes: int = 0

    def __post_init__(self) -> None:
        """Start at `initial`.

        Raises:
            ValueError: a number is out of range.
        """
        check_bounds(self.initial, self.least, self.most)
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
        if dropped:  # first: one that was refused at once has not been served in no time
            self._move(-_step(self.estimate))
            return
        self._seen += 1
        # Clients that began together must not all probe together, hence a half to the whole.
        if self._seen >= (0.5 + 0.5 * (self._probes * _GOLDEN % 1.0)) * _PROBE * self.estimate:
            self._seen = 0
            self._probes += 1
            self.base = rtt
        elif rtt < self.base:
            self.base = rtt
        elif 2 * in_flight >= self.estimate:
            self._settle(ceil(self.estimate * (1.0 - self.base / rtt)))

    def _settle(self, queue: int) -> None:
        step = _step(self.estimate)
        if queue <= step:
            self._move(6 * step)  # nothing queues: there is more to have
        elif queue < 3 * step:
            self._move(step)
        elif queue > 6 * step:
            self._move(-step)

    def _move(self, by: float) -> None:
        self.estimate = max(float(self.least), min(float(self.most), self.estimate + by))


def _step(limit: float) -> float:
    return max(1.0, log10(limit))
