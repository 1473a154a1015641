"""Which keys ask for most, in constant memory.

Space-Saving (A. Metwally, D. Agrawal, A. El Abbadi, "Efficient Computation of
Frequent and Top-k Elements in Data Streams", 2005): `size` counters; a key that has
none takes over the smallest one and what it had counted. So a count is never too
low, and too high by at most the smallest counter, which is at most the total divided
by `size`: whoever asks for more than that is in the list.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

__all__ = ["HotKey", "HotKeys"]


@dataclass(frozen=True, slots=True)
class HotKey:
    """A key that asks for much.

    Attributes:
        key: which one.
        count: what it has asked for, at most.
        over: by how much `count` may be too high.
    """

    key: Hashable
    count: float
    over: float


class HotKeys:
    """Counts the heaviest of any number of keys.

    Invariant: at most `size` keys are counted; the sum of their counts is the total.
    """

    __slots__ = ("_counts", "_size", "total")

    def __init__(self, size: int = 64) -> None:
        """Start with nothing counted.

        Raises:
            ValueError: `size` is less than 1.
        """
        if size < 1:
            raise ValueError(f"at least 1 key is counted, not {size!r}")
        self._size = size
        self._counts: dict[Hashable, list[float]] = {}  # key: [count, over]
        self.total = 0.0

    def add(self, key: Hashable, weight: float = 1.0) -> None:
        """Count what a key asks for.

        Cost: a look-up; for a key that is not counted yet, a pass over the counters.
        """
        self.total += weight
        entry = self._counts.get(key)
        if entry is not None:
            entry[0] += weight
        elif len(self._counts) < self._size:
            self._counts[key] = [weight, 0.0]
        else:
            least = min(self._counts, key=lambda other: self._counts[other][0])
            smallest = self._counts.pop(least)[0]
            self._counts[key] = [smallest + weight, smallest]

    def top(self, most: int = 10) -> tuple[HotKey, ...]:
        """Return the heaviest keys, the heaviest first."""
        ordered = sorted(self._counts.items(), key=lambda item: -item[1][0])
        return tuple(HotKey(key, count, over) for key, (count, over) in ordered[:most])
