"""Paced queue: calls leave one by one at even spacing, and few enough wait that none waits long.

A token bucket lets a burst through after a pause. Some dependencies want none: a worker
that does one thing at a time, a partner who counts in tenths of a second. Here calls leave
no closer than ``1 / rate``, as drops from a leaky bucket ("as a meter", ITU-T I.371), and
who cannot leave at once stands in a queue that is bounded in time and in number. A call
of weight 5 leaves as soon as any other, and the next one five spacings later, so no weight is
too large.

The mode is `Throttling` in Sentinel, `shaping` in network gear. Sentinel reserves a time for
each caller, who sleeps until then, and who leaves early keeps it. Here the
queue is a real one, so that whoever gives up lets those behind move up.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from backstay.guard.rules.gcra import ROUNDING_S, Gcra

__all__ = ["Pace", "PacedQueue"]


@dataclass(frozen=True, slots=True)
class Pace:
    """How long the queue of a paced rate may be.

    Attributes:
        max_wait: seconds that a call may wait, >= 0; half a second by default, as in Sentinel.
        max_queue: calls that may wait, >= 0; None for as many as `max_wait` lets in.
    """

    max_wait: float = 0.5
    max_queue: int | None = None

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: one is out of range.
        """
        if not self.max_wait >= 0:
            raise ValueError(f"max_wait is at least 0 seconds, not {self.max_wait!r}")
        if self.max_queue is not None and not self.max_queue >= 0:
            raise ValueError(f"max_queue is at least 0 calls, not {self.max_queue!r}")


@dataclass(slots=True)
class PacedQueue(Gcra):
    """When the next call may leave, and whether one more may wait.

    Invariant: after a call of `cost` none leaves for ``cost / rate`` seconds, however late
    the one before left.

    Attributes:
        settings: how long the queue may be.
    """

    settings: Pace = field(default_factory=Pace)

    def set(self, rate: float, burst: float) -> None:
        """Change the rate; there are no bursts.

        Raises:
            ValueError: a number is out of range, or `burst` is not 1.
        """
        if burst != 1:
            raise ValueError(f"a paced rate lets calls leave one by one: burst is 1, not {burst!r}")
        Gcra.set(self, rate, burst)

    def check(self, cost: float) -> None:
        """Refuse a cost that is not positive.

        Raises:
            ValueError: it is not.
        """
        if not cost > 0:
            raise ValueError(f"cannot take {cost:g} of a paced rate: take more than 0")

    def take(self, cost: float, now: float) -> float:
        """Leave now, or say how long to wait.

        Raises:
            ValueError: `cost` is not positive.
        """
        self.check(cost)
        early = self.due - now
        if early > ROUNDING_S:
            return early
        self.due = max(self.due, now) + cost / self.rate
        return 0.0

    def wait(self, cost: float, now: float) -> float:
        """Return the seconds until a call may leave, whatever its weight."""
        return max(0.0, self.due - now)

    def wait_behind(self, ahead: float, cost: float, now: float) -> float:
        """Return the seconds until a call may leave behind those who want `ahead` units."""
        return max(0.0, self.due - now) + ahead / self.rate

    def fitting(self, cost: float) -> float:
        """Return `cost`: each fits."""
        return cost

    def too_long(self, wait: float, waiting: int) -> str:
        """Say why a call may not wait `wait` seconds behind `waiting` others; "" when it may."""
        room = self.settings.max_queue
        if room is not None and waiting >= room:
            return f"{waiting} calls wait already, and max_queue is {room}"
        if wait > self.settings.max_wait:
            return f"max_wait is {self.settings.max_wait:g} s"
        return ""
