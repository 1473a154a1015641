"""Sums over the last few seconds, in constant memory."""

from __future__ import annotations

__all__ = ["RollingWindow"]


class RollingWindow:
    """Adds numbers up over the last `span` seconds, `buckets` steps at a time.

    Why not a deque of samples: its memory grows with the rate, which is worst
    exactly when a service is overloaded. The price is that the window's edge
    moves in steps of span / buckets.

    Invariant: `_totals[i]` belongs to the step number `_steps[i]`, and a slot
    whose step is out of the window counts as zero, so idle time costs nothing.
    """

    __slots__ = ("_steps", "_totals", "buckets", "span", "step")

    def __init__(self, span: float, buckets: int = 40) -> None:
        """Set the window.

        Args:
            span: seconds, > 0.
            buckets: how many steps the span is divided into, >= 1.

        Raises:
            ValueError: either is out of range.
        """
        if not span > 0:
            raise ValueError(f"a window needs a span above 0 seconds, not {span!r}")
        if buckets < 1:
            raise ValueError(f"a window needs at least 1 bucket, not {buckets!r}")
        self.span = span
        self.buckets = buckets
        self.step = span / buckets
        self._totals = [0.0] * buckets
        self._steps = [-1] * buckets

    def add(self, value: float, now: float) -> None:
        """Count `value` at the time `now` (seconds, any clock that never goes back)."""
        step = int(now / self.step)
        slot = step % self.buckets
        if self._steps[slot] != step:
            self._steps[slot] = step
            self._totals[slot] = 0.0
        self._totals[slot] += value

    def total(self, now: float) -> float:
        """Return the sum over the last `span` seconds, as seen at `now`."""
        newest = int(now / self.step)
        oldest = newest - self.buckets + 1
        return sum(
            total
            for total, step in zip(self._totals, self._steps, strict=True)
            if oldest <= step <= newest
        )

    def rate(self, now: float) -> float:
        """Return the sum per second over the whole span."""
        return self.total(now) / self.span
