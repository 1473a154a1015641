"""A mergeable histogram with bounded relative error."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, frexp, isfinite, ldexp

__all__ = ["Histogram"]

# 32 linear steps inside each power of two: a value is known to 1/32 of itself
# at worst, which is finer than any latency decision we take. The layout is the
# log-linear one of HdrHistogram (http://hdrhistogram.org), kept sparse in a dict
# because most histograms see only a few powers of two.
_STEPS = 32


class Histogram:
    """Counts positive numbers so that quantiles can be asked later.

    Relative error is at most 1/32 (3.2 %), memory grows with the spread of the
    values and not with their number, and two histograms of two processes add up.

    Invariant: `count` equals the sum of all buckets plus `zeros`.
    """

    __slots__ = ("_buckets", "count", "highest", "lowest", "total", "zeros")

    def __init__(self) -> None:
        """Start empty."""
        self._buckets: dict[int, int] = {}
        self.count = 0  # values recorded
        self.zeros = 0  # of these, how many were 0
        self.total = 0.0  # their sum, for the mean
        self.lowest = 0.0  # meaningless while count is 0
        self.highest = 0.0

    def record(self, value: float, times: int = 1) -> None:
        """Count `value`, `times` times.

        Raises:
            ValueError: the value is negative, infinite or not a number.
        """
        if not (value >= 0.0 and isfinite(value)):
            raise ValueError(f"a histogram counts finite numbers >= 0, not {value!r}")
        if self.count == 0 or value < self.lowest:
            self.lowest = value
        if self.count == 0 or value > self.highest:
            self.highest = value
        self.count += times
        self.total += value * times
        if value == 0.0:
            self.zeros += times
            return
        mantissa, exponent = frexp(value)  # mantissa in [0.5, 1)
        bucket = exponent * _STEPS + int((mantissa - 0.5) * 2 * _STEPS)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + times

    def quantile(self, q: float) -> float:
        """Return the value below which a share `q` (0 to 1) of the counted values lies.

        Returns:
            The upper edge of the bucket that holds it, never above `highest`;
            0.0 for an empty histogram.
        """
        if not 0.0 <= q <= 1.0:
            raise ValueError(f"a quantile lies between 0 and 1, not {q!r}")
        if self.count == 0:
            return 0.0
        rank = max(1, ceil(q * self.count - 1e-9))  # 0.1 * 10 is a little more than 1
        seen = self.zeros
        if seen >= rank:
            return 0.0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= rank:
                return max(self.lowest, min(self.highest, _upper_edge(bucket)))
        return self.highest

    @property
    def mean(self) -> float:
        """The exact mean, 0.0 when empty."""
        return self.total / self.count if self.count else 0.0

    def merge(self, other: Histogram) -> None:
        """Add everything `other` has counted to this one."""
        if other.count == 0:
            return
        self.lowest = min(self.lowest, other.lowest) if self.count else other.lowest
        self.highest = max(self.highest, other.highest) if self.count else other.highest
        self.count += other.count
        self.zeros += other.zeros
        self.total += other.total
        for bucket, times in other._buckets.items():
            self._buckets[bucket] = self._buckets.get(bucket, 0) + times

    def buckets(self) -> Iterator[tuple[float, int]]:
        """Yield (upper edge, count) in rising order, the shape that exporters want."""
        if self.zeros:
            yield 0.0, self.zeros
        for bucket in sorted(self._buckets):
            yield _upper_edge(bucket), self._buckets[bucket]


def _upper_edge(bucket: int) -> float:
    exponent, step = divmod(bucket, _STEPS)
    return ldexp(0.5 + (step + 1) / (2 * _STEPS), exponent)
