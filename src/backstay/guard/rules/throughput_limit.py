"""A rate limit that follows what a dependency does well, measured over some minutes.

What is measured is its *good throughput*: units a second that ended well. Beside it stands
what was asked for: those that ended well or badly. Two marks on the share that ended badly
decide, and between them nothing moves (hysteresis):

* Hardly any (at most half of `tolerance`): the dependency can take what it gets. The limit
  may rise, to `headroom` times of what it did, if that is at least half of the headroom above
  the limit: if the limit was used, that is. An idle hour takes nothing away. Soon after a
  fall the headroom is small, and full again after a window: so it comes back to where it was
  in small steps, and finds the place between both marks (CUBIC does so, RFC 9438).
* Too many (more than `tolerance`, and more than chance explains): the limit is above what it
  can take, and falls to what the share that ended well says, and so much more that the share of
  bad ends comes to lie between both marks; there it rests, and does not go up and down.
  After a rise it first goes back to where it was, and no further: that was too much for it, and
  a queue that has built up makes it look worse than it is.

Why it does not run away: it is never above its first value and `headroom` times of a
throughput that was really served. Why it does not spiral to the floor: a fall needs evidence
that is younger than the last fall, so one bad minute counts once, and halves it at most; and
below the capacity all ends well, which makes it rise again. Two things would keep it down for
good, and nothing can be done about them here: errors that are no overload, if more than half
of `tolerance` of the calls end so (do not count them), and a dependency that does less the
less it is asked for.

Evidence is counted anew after each change, as the recovery of TCP does it (RFC 6582): what
happened under another limit says nothing of this one. So `window` is how far back it goes at
most, and a tenth of it is what is waited for before the next step. A source that cannot
forget, such as a query over a fixed range, works too, but falls once in a range only.

That a limit is computed from throughput is the idea of BBR (N. Cardwell and others, 2016:
the rate of delivery, and a gain above it to look for more). The marks are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite, sqrt

__all__ = ["Throughput", "ThroughputLimit"]

# How many standard deviations above the tolerance are no chance any more: one in fifty.
_SURE = 2.0


@dataclass(frozen=True, slots=True)
class Throughput:
    """What was measured.

    Attributes:
        good: units a second that ended well.
        asked: units a second that ended well or badly; those that say nothing are left out.
        span: seconds that it covers, back from now.
    """

    good: float
    asked: float
    span: float

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: one cannot be.
        """
        for name, number in (("good", self.good), ("asked", self.asked), ("span", self.span)):
            if not (number >= 0 and isfinite(number)):
                raise ValueError(f"{name} is at least 0 and finite, not {number!r}")

    @property
    def bad(self) -> float:
        """The share that ended badly, 0 to 1; 0 when nothing was asked for."""
        return max(0.0, 1 - self.good / self.asked) if self.asked else 0.0


@dataclass(slots=True)
class ThroughputLimit:
    """How many units a second a dependency may be asked for, by what it did well.

    Invariant: ``floor <= limit <= ceiling``, and `limit` is never above both `initial` and
    `headroom` times of the highest `good` that it was told.

    Attributes:
        initial: the first limit, in units a second.
        floor: never lower; a tenth of `initial` when 0.
        ceiling: never higher.
        headroom: how far above what was served well it may be, > 1.
        tolerance: the share of bad ends from which it falls, > 0 and at most 0.5; up to half of
            that it may rise.
        window: seconds that evidence goes back, > 0.
        minimum: units below which evidence is none.
        estimate: the limit.
        cut: when it fell last.
        changed: when it moved last.
        risen_from: what it was before it rose; 0 after a fall.
    """

    initial: float
    floor: float = 0.0
    ceiling: float = inf
    headroom: float = 1.2
    tolerance: float = 0.05
    window: float = 300.0
    minimum: float = 20.0
    estimate: float = 0.0
    cut: float = -inf
    changed: float = -inf
    risen_from: float = 0.0

    def __post_init__(self) -> None:
        """Start at `initial`.

        Raises:
            ValueError: a number is out of range.
        """
        if self.floor == 0.0:
            self.floor = self.initial / 10
        if not 0 < self.floor <= self.initial <= self.ceiling or self.initial == inf:
            raise ValueError(
                f"0 < floor <= initial <= ceiling, and finite, not floor={self.floor!r}, "
                f"initial={self.initial!r}, ceiling={self.ceiling!r}"
            )
        if not (self.headroom > 1 and isfinite(self.headroom)):
            raise ValueError(f"headroom is above 1, not {self.headroom!r}: it could never rise")
        if not 0 < self.tolerance <= 0.5:
            raise ValueError(f"tolerance is above 0 and at most 0.5, not {self.tolerance!r}")
        if not (self.window > 0 and isfinite(self.window)):
            raise ValueError(f"a window spans more than 0 seconds, not {self.window!r}")
        if not self.minimum >= 1:
            raise ValueError(f"minimum is at least 1, not {self.minimum!r}")
        self.estimate = float(self.initial)

    @property
    def limit(self) -> float:
        """Units a second that may be asked for now."""
        return self.estimate

    @property
    def settle(self) -> float:
        """Seconds that evidence must cover, at least: a tenth of the window."""
        return self.window / 10

    def sample(self, measured: Throughput, now: float) -> bool:
        """Learn from a measurement.

        Args:
            measured: what was done, up to now.
            now: seconds on a clock that never goes back.

        Returns:
            Whether the limit has moved.
        """
        units = measured.asked * measured.span
        if units < self.minimum or measured.span < self.settle * (1 - 1e-6):
            return False
        before, bad, tolerance = self.estimate, measured.bad, self.tolerance
        if bad <= tolerance / 2:
            gain = 1 + (self.headroom - 1) * min(1.0, (now - self.cut) / self.window)
            can = min(self.ceiling, gain * measured.good)
            if can >= min(self.ceiling, before * (1 + gain) / 2):
                self.estimate = max(before, can)
                self.risen_from = before
        elif bad > tolerance + _SURE * sqrt(tolerance * (1 - tolerance) / units):
            if now - measured.span < self.cut - 1e-6:
                return False  # it has fallen for a part of this already
            # The window may lie in times of more, and then say more than the share does.
            can = max(before * (1 - bad), measured.good) / (1 - tolerance * 3 / 4)
            can = max(can, self.risen_from, before / 2)
            self.estimate = max(self.floor, min(can, before))
            self.risen_from = 0.0
        if self.estimate == before:
            return False
        self.changed = now
        if self.estimate < before:
            self.cut = now
        return True
