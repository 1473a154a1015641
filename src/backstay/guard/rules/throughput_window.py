"""What ended well, and badly, over the last minutes, in units a second."""

from __future__ import annotations

from collections import deque
from math import inf

from backstay.guard.rules.throughput_limit import Throughput

__all__ = ["ThroughputWindow"]

_STEPS = 60
_TICK = 1e-9  # seconds, what a monotonic clock tells apart: a rate over less has no meaning


class ThroughputWindow:
    """Counts units by how they ended, and forgets what is older than `span` seconds.

    The window begins with the first unit, anew after a pause as long as itself, and where it
    is told to; so a measurement is not diluted by a time in which nobody asked for anything.

    Attributes:
        span: seconds that it goes back.
        newest: of the present step: when it began, units that ended well, units that ended. A
            caller for whom the call of `add` is too dear may add to it by itself, before `until`.
        until: when the present step ends.
    """

    __slots__ = ("_began", "_steps", "_width", "newest", "span", "until")

    def __init__(self, span: float) -> None:
        """Start empty.

        Args:
            span: seconds, > 0.
        """
        self.span = span
        self._width = span / _STEPS
        self._steps: deque[list[float]] = deque()  # as `newest`, which is the last of them
        self._began = inf
        self.newest: list[float] = []
        self.until = -inf

    def add(self, good: bool, units: float, now: float) -> None:
        """Count units that ended at `now`."""
        if now >= self.until:
            steps = self._steps
            while steps and steps[0][0] + self._width <= now - self.span:
                steps.popleft()
            if not steps and self._began <= now - self.span:
                self._began = now
            self._began = min(self._began, now)
            self.newest = [now, 0.0, 0.0]
            self.until = now + self._width
            steps.append(self.newest)
        self.newest[2] += units
        if good:
            self.newest[1] += units

    def begin(self, now: float) -> None:
        """Forget everything, and count from `now` on."""
        self._steps.clear()
        self._began = now
        self.until = -inf

    def measure(self, now: float) -> Throughput:
        """Return what was counted in the window that ends now."""
        since = max(self._began, now - self.span)
        seconds = now - since
        # A step that began before the window counts as if it lay inside: a sixtieth is no matter.
        counted = [step for step in self._steps if step[0] + self._width > since]
        if seconds < _TICK or not counted:
            return Throughput(0.0, 0.0, seconds if seconds >= _TICK else 0.0)
        good, asked = (sum(step[kind] for step in counted) for kind in (1, 2))
        return Throughput(good / seconds, asked / seconds, seconds)
