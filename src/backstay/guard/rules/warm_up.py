"""Warm-up: a rate that begins low after a start or a pause, and climbs to its full height.

A dependency that was idle is cold: its caches are empty, its pool has one connection, its
code is not compiled yet. The rate that it can take after ten minutes of work breaks it in
the first second. So the permitted rate depends on how *warm* it is, from 0 to 1, and
rises in a straight line from ``rate / cold_factor`` to `rate`.

Warm is what is used. `Gcra.due` says up to when the limit is spoken for: the time before
it was busy, and warms; the time after it was idle, and cools, as fast. So in use without
a pause it is warm after `period` seconds, and after a pause of that length it is cold;
used half of the time it stays as it is, and so the permitted rate never falls below
twice what is asked for (or the full rate).

The idea is that of `SmoothRateLimiter.SmoothWarmingUp` in Guava, which Sentinel's `WarmUp`
follows. There the state is a store of unused permits, whose price falls as they are spent;
here it is a time, as in all of GCRA, and the climb is linear in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, isfinite, sqrt

from backstay.guard.rules.gcra import ROUNDING_S, Gcra

__all__ = ["WarmUp", "WarmUpRate"]


@dataclass(frozen=True, slots=True)
class WarmUp:
    """How a rate warms up.

    Attributes:
        period: seconds of use until it is at its full height, > 0; as long a pause cools it.
        cold_factor: how much lower it begins, > 1; a third by default, as in Guava and Sentinel.
    """

    period: float = 10.0
    cold_factor: float = 3.0

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: one is out of range.
        """
        if not (self.period > 0 and isfinite(self.period)):
            raise ValueError(f"a warm-up takes more than 0 seconds, not {self.period!r}")
        if not (self.cold_factor > 1 and isfinite(self.cold_factor)):
            raise ValueError(
                f"cold_factor is above 1, not {self.cold_factor!r}: a cold rate is that much lower"
            )


@dataclass(slots=True)
class WarmUpRate(Gcra):
    """GCRA whose rate depends on how warm it is.

    Invariant: it never admits what a `Gcra` of the same rate and burst would not; cold, a
    burst is smaller by `cold_factor`, too.

    Attributes:
        settings: how it warms up.
        warmth: 0 when cold, 1 when warm, as of `seen`.
        seen: when `warmth` was brought up to date.
    """

    settings: WarmUp = field(default_factory=WarmUp)
    warmth: float = 0.0
    seen: float = -inf
    _low: float = field(init=False, repr=False)  # the cold rate

    def set(self, rate: float, burst: float) -> None:
        """Change the limit; it stays as warm as it is.

        Raises:
            ValueError: a number is out of range.
        """
        Gcra.set(self, rate, burst)
        self._low = rate / self.settings.cold_factor
        self.spare = -inf  # nobody takes a unit by himself: each must be weighed here

    def change(self, rate: float, burst: float, now: float) -> None:
        """Change the limit as of now; see `Gcra.change`.

        Raises:
            ValueError: a number is out of range; nothing has changed.
        """
        self._feel(now)
        Gcra.change(self, rate, burst, now)

    def chill(self, now: float) -> None:
        """Be cold, as at the start."""
        self._feel(now)
        self.warmth = 0.0

    def height(self, now: float) -> float:
        """Return the rate that is permitted now, in units a second."""
        self._feel(now)
        return self._low + (self.rate - self._low) * self.warmth

    def _feel(self, now: float) -> None:
        """Bring `warmth` up to date: what was spoken for warms, what was not cools."""
        seen, due = self.seen, self.due
        if now <= seen:
            return
        self.seen = now
        if due >= now:
            self.warmth = min(1.0, self.warmth + (now - seen) / self.settings.period)
        elif seen > -inf:
            # First it was busy, then idle, as `due` lies between both; or idle all the time.
            warm, cool = (due - seen, now - due) if due > seen else (0.0, now - seen)
            period = self.settings.period
            self.warmth = max(0.0, min(1.0, self.warmth + warm / period) - cool / period)

    def take(self, cost: float, now: float) -> float:
        """Take `cost` units, or take nothing and say how long to wait; see `Gcra.take`.

        Raises:
            ValueError: `cost` is not positive, or can never fit.
        """
        if not 0 < cost <= self.burst:
            self.check(cost)
        due = self.due
        if due < now:
            due = now
        early = due - now - (self.burst - cost) / self.rate
        if early > ROUNDING_S:
            return early
        self._feel(now)
        self.due = due + cost / (self._low + (self.rate - self._low) * self.warmth)
        return 0.0

    def wait(self, cost: float, now: float) -> float:
        """Return the seconds until `cost` units will have come free, 0.0 if they are now.

        For more than a burst it reckons with the climb: those in line keep it busy.
        """
        height = self.height(now)
        behind = max(0.0, self.due - now)
        beyond = cost - self.burst
        if beyond <= 0:
            return max(0.0, behind + beyond / self.rate)
        top, period = self.rate, self.settings.period
        slope = top * (1 - 1 / self.settings.cold_factor) / period
        height = min(top, height + slope * behind)  # when what was taken before is paid off
        climb = (top - height) / slope  # seconds to the top from there
        climbed = (height + top) / 2 * climb
        if beyond > climbed:
            return behind + climb + (beyond - climbed) / top
        return behind + (sqrt(height * height + 2 * slope * beyond) - height) / slope

    def owe(self, cost: float, now: float) -> None:
        """Take `cost` units that are not free yet."""
        height = self.height(now)
        self.due = max(self.due, now) + cost / height

    def give_back(self, cost: float) -> None:
        """Return units that were taken and not used."""
        self.due -= cost / self.height(self.seen)

    def level(self, now: float) -> float:
        """Return how many units could be taken at once."""
        spare = (self.burst - 1) / self.rate - max(0.0, self.due - now)
        return 1 + spare * self.height(now)
