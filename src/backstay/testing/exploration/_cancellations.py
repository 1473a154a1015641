"""Whom to cancel when: by chance, or each task once at each of its waits.

Both windows of a wait are struck. While a task is *waiting*, its cancellation
must leave no trace in what it waited for. When it was *woken* and has not run
yet, it has been given something (an item, a lock) that nobody else knows of;
that is where items get lost.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol

from backstay.testing.exploration._explored_task import ExploredTask
from backstay.testing.exploration._plan import CancelAtSteps, CancelAtWait, Record

__all__ = ["CancelAtRandom", "CancelEverywhere", "Cancellations"]

# How many are cancelled in a run: mostly one, for two hide each other; sometimes none, for
# the plain course is a schedule too.
_HOW_MANY = (0, 1, 1, 2)


class Cancellations(Protocol):
    """Decides on the cancellations of each run."""

    def next(self) -> CancelAtSteps | CancelAtWait | None:
        """Return those of the next run."""
        ...

    def learn(self, record: Record) -> None:
        """Look at what the last run did."""
        ...


class CancelAtRandom:
    """Anybody, at any step."""

    def __init__(self, dice: random.Random) -> None:
        """Roll `dice`."""
        self._dice = dice
        self._longest = 1

    def next(self) -> CancelAtSteps | None:
        """Return up to two random steps."""
        dice = self._dice
        steps = sorted(dice.randrange(self._longest) for _ in range(dice.choice(_HOW_MANY)))

        def anybody(step: int, victims: Sequence[ExploredTask]) -> ExploredTask | None:
            return dice.choice(victims) if victims else None

        return CancelAtSteps(steps, anybody) if steps else None

    def learn(self, record: Record) -> None:
        """Learn how long a run may be."""
        self._longest = max(self._longest, len(record.path))


class CancelEverywhere:
    """Each task at each of its waits, in both windows; again and again while the budget lasts.

    Attributes:
        known: waits seen in any run.
        struck: those of them at which a task was cancelled.
    """

    def __init__(self) -> None:
        """Know nothing yet: the first run shows what there is to cancel."""
        self.known: dict[CancelAtWait, None] = {}
        self.struck: set[CancelAtWait] = set()
        self._round: list[CancelAtWait] = []
        self._current: CancelAtWait | None = None

    def next(self) -> CancelAtWait | None:
        """Return the next wait, those never tried before all others."""
        if not self._round:
            fresh = [wait for wait in self.known if wait not in self.struck]
            self._round = list(reversed(fresh or list(self.known)))
        self._current = self._round.pop() if self._round else None
        return self._current

    def learn(self, record: Record) -> None:
        """Note the waits that this run has shown, and whether ours was met."""
        if self._current is not None:
            # Where the schedule never came to it, there is nothing to strike in that order.
            self.struck.add(self._current)
        steps: dict[int, int] = {}
        for source in record.path:
            if source > 1:  # not the scenario itself
                steps[source] = steps.get(source, 0) + 1
        for task, count in steps.items():
            for wait in range(count):
                self.known.setdefault(CancelAtWait(task, wait, "woken"))
                if wait:
                    self.known.setdefault(CancelAtWait(task, wait, "waiting"))
