"""Who is still there: the past of one spawn site, as counts by birth.

A plain count of living tasks cannot tell more traffic from a leak. Births can:
by Little's law (J. D. C. Little, Operations Research 9, 1961) the tasks alive
are arrivals times residence, so when only the traffic grows, nobody stays
longer; in a leak each generation leaves somebody behind for good. So for each
sample we keep how many of the living were born at or before each earlier
sample. From these rows everything else follows exactly: who is older than W,
how many of those left since, at what age tasks of this site normally end.

A row is aligned at its right end: ``row[-1]`` is everybody alive at its sample,
``row[-2]`` those of them born at or before the sample before it, and so on.
Leading zeros are cut off, so the row of a site whose tasks are short-lived is
one or two numbers long, and only a site that keeps its tasks pays for a long one.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

__all__ = ["Lifelines", "Row", "birth_row"]

Row = Sequence[int]


def birth_row(births: Iterable[float | None], times: Sequence[float]) -> Row:
    """Count living tasks by birth, in the form described above.

    Args:
        births: when each living task was born; None for "before anybody looked".
        times: the samples so far, ascending; the last one is the present one.

    Cost: one binary search a task.
    """
    last = len(times) - 1
    born_in: Counter[int] = Counter()
    for birth in births:
        born_in[0 if birth is None else min(last, bisect_left(times, birth))] += 1
    if not born_in:
        return array("I")
    first = min(born_in)
    return array("I", accumulate(born_in[k] for k in range(first, last + 1)))


@dataclass(frozen=True, slots=True)
class Lifelines:
    """One site over several samples; samples are numbered from 0, oldest first.

    Invariant: `times` ascends strictly, and `rows` has one row for each time.
    """

    times: Sequence[float]  # seconds on the clock of now()
    rows: Sequence[Row]

    def alive(self, sample: int) -> int:
        """How many tasks were alive at `sample`."""
        row = self.rows[sample]
        return row[-1] if row else 0

    def born_by(self, edge: int, sample: int) -> int:
        """How many tasks alive at `sample` were born at or before the time of sample `edge`."""
        lag = sample - edge
        row = self.rows[sample]
        return row[-1 - lag] if lag < len(row) else 0

    def oldest_age(self, sample: int) -> float:
        """Age of the oldest task at `sample` in seconds, to the next smaller sample; 0 without tasks."""
        row = self.rows[sample]
        return self.times[sample] - self.times[max(0, sample - len(row) + 1)] if row else 0.0

    def departures(self) -> list[tuple[float, int]]:
        """Ages at which tasks were seen to end: pairs of (age at most, how many).

        Tasks that were born and ended between two samples were never seen, so
        what is listed are the longer-lived ones. That errs on the careful side.
        """
        ended: Counter[float] = Counter()
        for sample in range(len(self.times) - 1):
            reach = min(len(self.rows[sample]), sample + 1)
            for edge in range(sample - reach + 1, sample + 1):
                here = self.born_by(edge, sample) - (self.born_by(edge - 1, sample) if edge else 0)
                there = self.born_by(edge, sample + 1) - (
                    self.born_by(edge - 1, sample + 1) if edge else 0
                )
                if here > there:
                    since = self.times[max(0, edge - 1)]
                    ended[self.times[sample + 1] - since] += here - there
        return sorted(ended.items())

    def fading(self) -> float:
        """Share of newborn tasks that are gone two samples later, 0 to 1: is anybody leaving at all.

        Newborn means of the last two samples: births are stamped to about a
        second, so with samples a second apart a birth may be noticed one late.
        """
        seen = gone = 0
        for sample in range(2, len(self.times) - 2):
            newborn = self.alive(sample) - self.born_by(sample - 2, sample)
            kept = self.born_by(sample, sample + 2) - self.born_by(sample - 2, sample + 2)
            seen += newborn
            gone += max(0, newborn - kept)
        return gone / seen if seen else 0.0
