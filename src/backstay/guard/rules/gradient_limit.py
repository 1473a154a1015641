"""A concurrency limit by how much slower calls are than they used to be: Gradient2.

The time that calls take over a second is held against the time they took over ten
minutes. As long as it is hardly more, the limit grows by a few; when it is twice
that, it is halved, smoothly.

``limit' = 0.8 limit + 0.2 (g limit + 4)``, ``g = 1.5 long / short`` within 0.5 to 1

Three regimes follow. Steady: short and long agree, g is 1, and the limit drifts up
as far as it is used. Overload: short rises at once and long hardly, so the limit
falls. Afterwards: long is still high, so the limit grows; `long` is pulled down
quickly once it is twice `short`.

Its weak spot is the start: a dependency that answers in 0.2 s because that is how long
it takes gets a limit of 20, which climbs by less than one a second, and calls that would
have been fine are refused: 86 % of a thousand a second in our model. So it is for the
client side of one dependency with a fitting `initial`, and never for a server.

`Gradient2Limit` within `WindowedLimit` of Netflix's concurrency-limits. What is
different here: there a window in which calls were dropped may still raise the limit
(its issue 176); here it takes a tenth off.
"""

from __future__ import annotations

from dataclasses import dataclass

from backstay.guard.rules.limit_bounds import check_bounds

__all__ = ["GradientLimit"]

_WINDOW_S = 1.0
_LEAST_SAMPLES = 10
_LEAST_RTT_S = 100e-6  # what is quicker was answered out of a cache, and says nothing
_LONG = 600  # windows over which the long time is an average
_WARM_UP = 10  # … while there are fewer it is their plain mean
_QUEUE = 4  # calls that may wait, and so the growth of a step before smoothing
_SMOOTHING = 0.2
_TOLERANCE = 1.5
_RECOVERY = 0.95  # what is left of the long time in a window that was less than half of it
_AFTER_DROP = 0.9


@dataclass(slots=True)
class GradientLimit:
    """How many calls may be in flight to a dependency, by whether they take longer than usual.

    Attributes:
        initial: the first limit.
        least: never fewer.
        most: never more.
        estimate: the limit with its fraction.
        long: seconds that calls take over ten minutes; 0.0 while unknown.
    """

    initial: int = 20
    least: int = 20
    most: int = 200
    estimate: float = 0.0
    long: float = 0.0
    _windows: int = 0
    _until: float | None = None  # end of the window
    _samples: int = 0
    _timed: int = 0  # of these, how many say how long a call takes
    _sum: float = 0.0  # of their times
    _busiest: int = 0
    _dropped: bool = False

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
        if self._until is None:
            self._until = now + _WINDOW_S
        self._dropped |= dropped
        self._busiest = max(self._busiest, in_flight)
        self._samples += 1
        # One that was refused was not served, and one that was cut took at least that long.
        if rtt >= _LEAST_RTT_S and (not dropped or rtt > self.long):
            self._timed += 1
            self._sum += rtt
        if now >= self._until and self._samples >= _LEAST_SAMPLES:
            if self._timed:
                self._compare(self._sum / self._timed)
            elif self._dropped:
                self._set(self.estimate * _AFTER_DROP)
            self._until = now + _WINDOW_S
            self._samples, self._timed, self._sum = 0, 0, 0.0
            self._busiest, self._dropped = 0, False

    def _compare(self, short: float) -> None:
        self._windows += 1
        weight = 1 / self._windows if self._windows <= _WARM_UP else 2 / (_LONG + 1)
        self.long += (short - self.long) * weight
        if self.long > 2 * short:
            self.long *= _RECOVERY
        if self._dropped:
            self._set(self.estimate * _AFTER_DROP)
        elif 2 * self._busiest >= self.estimate:  # otherwise it was not used, and so not tried
            gradient = max(0.5, min(1.0, _TOLERANCE * self.long / short))
            wanted = gradient * self.estimate + _QUEUE
            self._set((1 - _SMOOTHING) * self.estimate + _SMOOTHING * wanted)

    def _set(self, estimate: float) -> None:
        self.estimate = max(float(self.least), min(float(self.most), estimate))
