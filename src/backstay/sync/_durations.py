"""How long waits and holds took: cheap to count, read as quantiles.

`_base.Histogram` knows a value to 3 %, and counting one costs half a
microsecond. A contended lock counts two durations for each change of hands,
which itself costs four; so here a value is known to a factor of two, by the
length of its microseconds in bits, and counting costs a tenth.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

__all__ = ["Durations", "Spread"]

_BUCKETS = 45  # the last one begins at 2**43 microseconds, a hundred days


@dataclass(frozen=True, slots=True)
class Spread:
    """How a kind of duration was spread, in seconds.

    Attributes:
        count: how many durations were counted.
        total_s: their exact sum.
        longest_s: the exact longest.
        p50_s: half of them were not longer; known to a factor of two, never above `longest_s`.
        p99_s: the same for 99 of 100.
        buckets: (upper edge in seconds, count), rising, empty ones left out.
    """

    count: int
    total_s: float
    longest_s: float
    p50_s: float
    p99_s: float
    buckets: tuple[tuple[float, int], ...]


class Durations:
    """Counts durations.

    Invariant: bucket `n` holds those whose whole microseconds have `n` bits, so they are
    shorter than ``2**n`` microseconds.
    """

    __slots__ = ("_buckets", "longest", "total")

    def __init__(self) -> None:
        """Start empty."""
        self._buckets = [0] * _BUCKETS
        self.total = 0.0
        self.longest = 0.0

    @property
    def count(self) -> int:
        """How many were counted; added up when somebody asks."""
        return sum(self._buckets)

    def record(self, seconds: float) -> None:
        """Count one duration; longer than a hundred days counts as that."""
        self.total += seconds
        if seconds > self.longest:
            self.longest = seconds
        try:
            self._buckets[int(seconds * 1e6).bit_length()] += 1
        except IndexError:
            self._buckets[-1] += 1

    def spread(self) -> Spread:
        """Return what has been counted so far."""
        edges = [(2.0**bits / 1e6, count) for bits, count in enumerate(self._buckets) if count]
        return Spread(
            count=self.count,
            total_s=self.total,
            longest_s=self.longest,
            p50_s=self._quantile(edges, 0.5),
            p99_s=self._quantile(edges, 0.99),
            buckets=tuple(edges),
        )

    def _quantile(self, edges: list[tuple[float, int]], q: float) -> float:
        rank = ceil(q * self.count)
        for edge, count in edges:
            rank -= count
            if rank <= 0:
                return min(edge, self.longest)
        return 0.0  # nothing was counted
