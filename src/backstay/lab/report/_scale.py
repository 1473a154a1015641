"""Axes: from values to places, with ticks at numbers that people like."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Scale", "linear", "logarithmic", "nice_step"]


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values from `low` to `high` onto 0 to 1."""

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False

    def place(self, value: float) -> float:
        """Return where a value stands, 0 at the low end; values outside are put at the ends."""
        value = min(max(value, self.low), self.high)
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def nice_step(span: float, wanted: int) -> float:
    """Return the step of 1, 2 or 5 times a power of ten that gives about `wanted` ticks."""
    raw = span / max(1, wanted)
    power = 10.0 ** math.floor(math.log10(raw))
    for factor in (1.0, 2.0, 5.0):
        if raw <= factor * power * 1.0001:
            return factor * power
    return 10.0 * power


def linear(high: float, *, low: float = 0.0, wanted: int = 4) -> Scale:
    """Return a scale from `low` to the first tick at or above `high`."""
    if high <= low:
        high = low + 1.0
    step = nice_step(high - low, wanted)
    top = low + math.ceil((high - low) / step - 1e-9) * step
    ticks = tuple(low + step * index for index in range(round((top - low) / step) + 1))
    return Scale(low, top, ticks)


def logarithmic(low: float, high: float) -> Scale:
    """Return a log scale over whole decades around the values, ticks at each decade.

    With fewer than two decades between, 2 and 5 get ticks as well.
    """
    bottom = math.floor(math.log10(max(low, 1e-9)) + 1e-9)
    top = max(bottom + 1, math.ceil(math.log10(max(high, 1e-9)) - 1e-9))
    factors = (1, 2, 5) if top - bottom <= 2 else (1,)
    ticks = tuple(
        factor * 10.0**power
        for power in range(bottom, top + 1)
        for factor in factors
        if factor * 10.0**power <= 10.0**top * 1.0001
    )
    return Scale(10.0**bottom, 10.0**top, ticks, log=True)
