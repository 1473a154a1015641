"""PCT: random priorities with a few changes, and a bound on what it misses.

Burckhardt, Kothari, Musuvathi, Nagarakatte: "A Randomized Scheduler with
Probabilistic Guarantees of Finding Bugs", ASPLOS 2010. Each task gets a random
priority, and always the highest runs. At d-1 random points the task that would
run falls below all others. A bug of depth d (one that needs d constraints on
who comes before whom) is then found by each run with a chance of at least
1 / (n * k**(d-1)), for n tasks and k choices: far more than a random walk gives
where a task has to stand still for long.

What is ours: k counts steps with a choice and not all steps, and is learned from
the runs so far; a task that ran 32 times in a row while others waited falls to
the bottom, since a bare-yield loop of the highest priority would otherwise starve
everybody, which no asyncio loop does.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from backstay.testing.exploration._plan import Chooser, Plan, Record

__all__ = ["PriorityChange"]

_PATIENCE = 32  # steps in a row before somebody else gets a turn


class PriorityChange:
    """Plans runs by PCT."""

    def __init__(self, dice: random.Random, depth: int = 3) -> None:
        """Look for bugs of up to `depth` constraints, >= 1."""
        if depth < 1:
            raise ValueError(
                f"depth must be at least 1, not {depth!r}: it counts ordering constraints"
            )
        self._dice = dice
        self._depth = depth
        self._choices = 1  # the most choices that a run has had, k in the paper

    def plan(self, number: int) -> Plan:
        """Return a plan with new priorities; the first run keeps the order of arrival and measures k."""
        if number == 0:
            return Plan(chance=number)
        return Plan(self._priorities(), chance=number)

    def learn(self, record: Record) -> None:
        """Learn how many choices a run may have."""
        self._choices = max(self._choices, len(record.choices))

    def _priorities(self) -> Chooser:
        roll = self._dice.random
        depth = self._depth
        changes = sorted(self._dice.randrange(self._choices) for _ in range(depth - 1))
        changes.reverse()
        ranks: dict[int, float] = {}  # above 0 at first; below 0 once a change point was met
        asked = 0
        bottom = 0.0
        last, in_a_row = 0, 0

        def highest(sources: Sequence[int], count: int) -> int:
            best, best_rank = 0, -1e18
            for index in range(count):
                source = sources[index]
                rank = ranks.get(source)
                if rank is None:
                    rank = ranks[source] = roll()
                if rank > best_rank:
                    best, best_rank = index, rank
            return best

        def choose(sources: Sequence[int], count: int, step: int) -> int:
            nonlocal asked, bottom, last, in_a_row
            index = highest(sources, count)
            source = sources[index]
            in_a_row = in_a_row + 1 if source == last else 1
            last = source
            while in_a_row > _PATIENCE or (changes and changes[-1] <= asked):
                if in_a_row <= _PATIENCE:
                    changes.pop()
                in_a_row = 0
                bottom -= 1.0
                ranks[source] = bottom
                index = highest(sources, count)
                source = sources[index]
            last = source
            asked += 1
            return index

        return choose
