"""What the sampler remembers: lifelines of every site, fine for minutes, coarse for hours.

One ring of samples would have to choose between seeing a fast leak soon and a
slow one at all. So there are three, each of the same length and eight times
coarser than the one before: with 30 s between samples and 80 places they reach
back 40 minutes, 5 hours and 42 hours. Each is a complete history of its own,
with its own birth counts, so that the growth rule can judge any of them.

Memory: a site whose tasks are short-lived needs about 150 bytes a sample; one
that keeps its tasks up to 500.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping

from backstay.leak._census import Site
from backstay.leak._growth_rule import Backing, Growth, GrowthRule
from backstay.leak._lifelines import Lifelines, Row, birth_row

__all__ = ["History"]

_COARSER = 8
_LEVELS = 3

Births = Mapping[Site, Iterable[float | None]]


class Ring:
    """The last `size` samples out of every `every` ones.

    Invariant: each site has as many rows as there are times, oldest first.
    """

    def __init__(self, size: int, every: int) -> None:
        """Start empty."""
        self.every = every
        self.times: deque[float] = deque(maxlen=size)
        self.rows: dict[Site, deque[Row]] = {}

    def add(self, at: float, births: Births) -> None:
        """Take a sample."""
        self.times.append(at)
        times = tuple(self.times)
        for site in births:
            if site not in self.rows:
                before: list[Row] = [() for _ in range(len(times) - 1)]
                self.rows[site] = deque(before, maxlen=self.times.maxlen)
        for site in list(self.rows):
            row = birth_row(births.get(site, ()), times)
            self.rows[site].append(row)
            if not row and not any(self.rows[site]):
                del self.rows[site]

    def lifelines(self, site: Site) -> Lifelines | None:
        """The past of one site as this ring knows it, or None when it has none."""
        rows = self.rows.get(site)
        return None if rows is None else Lifelines(tuple(self.times), tuple(rows))

    def concurrency(self) -> int:
        """Most tasks that were alive at one sample and have ended by the last one."""
        last = len(self.times) - 1
        passing = [0] * (last + 1)
        times = tuple(self.times)
        for rows in self.rows.values():
            past = Lifelines(times, tuple(rows))
            for sample in range(last + 1):
                passing[sample] += max(0, past.alive(sample) - past.born_by(sample, last))
        return max(passing, default=0)


class History:
    """All rings, fed together."""

    def __init__(self, samples: int, most_sites: int) -> None:
        """Start empty.

        Args:
            samples: how many to remember, shared evenly by the rings.
            most_sites: sites beyond this many are not remembered.
        """
        size = max(2, samples // _LEVELS)
        self.rings = [Ring(size, _COARSER**level) for level in range(_LEVELS)]
        self.samples = 0
        self.refused = 0  # sites left out at the last sample
        self._most_sites = most_sites

    @property
    def last(self) -> float | None:
        """When the last sample was taken."""
        times = self.rings[0].times
        return times[-1] if times else None

    @property
    def span_s(self) -> float:
        """How far back it reaches."""
        firsts = [ring.times[0] for ring in self.rings if ring.times]
        return self.rings[0].times[-1] - min(firsts) if firsts else 0.0

    @property
    def sites(self) -> int:
        """How many sites are remembered."""
        return len(self.rings[0].rows)

    def add(self, at: float, births: Mapping[Site, list[float | None]]) -> None:
        """Take a sample; known sites first, then those with most tasks, up to the limit."""
        self.refused = 0
        if len(births) > self._most_sites:
            known = self.rings[0].rows
            ranked = sorted(births, key=lambda site: (site not in known, -len(births[site])))
            self.refused = len(ranked) - self._most_sites
            births = {site: births[site] for site in ranked[: self._most_sites]}
        for ring in self.rings:
            if self.samples % ring.every == 0:
                ring.add(at, births)
        self.samples += 1

    def judge(self, rule: GrowthRule) -> Callable[[Site, Backing], Growth]:
        """Prepare to judge sites by what is known now.

        Returns:
            A function that judges one site: the finest ring that sees a leak
            decides; without one, the finest that had seen enough to say no.
        """
        concurrency = [float(ring.concurrency()) for ring in self.rings]

        def judge(site: Site, backing: Backing) -> Growth:
            verdicts: list[Growth] = []
            for ring, passing in zip(self.rings, concurrency, strict=True):
                past = ring.lifelines(site) or Lifelines((), ())
                growth = rule.judge(past, backing=backing, concurrency=passing)
                if growth.movement == "growing":
                    return growth
                verdicts.append(growth)
            return next((growth for growth in verdicts if growth.movement != "unsure"), verdicts[0])

        return judge
