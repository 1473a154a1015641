"""Every schedule once, those with the fewest deviations from the order of arrival first.

Delay bounding (Emmi, Qadeer, Rakamaric: "Delay-Bounded Scheduling", POPL 2011):
most concurrency bugs need few deviations from a plain order, so all schedules
with none are tried, then all with one, with two, and so on. The first failure
found thus has the fewest deviations there are; and when nothing is left, the
scenario is proven for its inputs, and the exploration says `exhaustive`.

A schedule is the list of its deviations. Running it shows the choices behind its
last one, and each of these makes a schedule with one more; so each schedule is
made exactly once and none has to be remembered after it was run.
"""

from __future__ import annotations

import random
from typing import TypeAlias

from backstay.errors import OutsideChance
from backstay.testing.exploration._plan import Cancel, Overtake, Plan, Record
from backstay.testing.exploration._replay import follow, was_followed
from backstay.testing.exploration._schedule_text import Schedule

__all__ = ["BoundedSearch"]

_Deviations: TypeAlias = tuple[Overtake | Cancel, ...]
_KEPT = 200_000  # schedules of the next level that are remembered, some 100 bytes each


class BoundedSearch:
    """Walks the tree of schedules level by level.

    Attributes:
        complete: whether nothing within the bound is left to try.
    """

    def __init__(self, dice: random.Random, *, bound: int | None, cancel: bool) -> None:
        """Try up to `bound` deviations; with `cancel`, one of them may be a cancellation."""
        self._dice = dice
        self._bound = bound
        self._cancel = cancel
        self._level = 0
        self._now: list[_Deviations] = [()]
        self._next: list[_Deviations] = []
        self._running: _Deviations = ()
        self._forgot = False
        self.complete = False

    def plan(self, number: int) -> Plan | None:
        """Return the next schedule that was never run."""
        if not self._now:
            self._now, self._next = self._next, []
            self._level += 1
            # When the budget ends within a level, what was tried is a fair sample of it.
            self._dice.shuffle(self._now)
        if not self._now:
            self.complete = not self._forgot
            return None
        self._running = self._now.pop()
        return follow(Schedule(*_split(self._running)))

    def learn(self, record: Record) -> None:
        """Note the schedules with one deviation more.

        Raises:
            OutsideChance: the program did not do what it had done before.
        """
        overtakes, cancels = _split(self._running)
        if not was_followed(record, overtakes, cancels):
            raise OutsideChance(
                "a step that was possible in one run was not in the next, under the same schedule: "
                f"planned {[*overtakes, *cancels]}, possible were {[*record.overtakes, *record.cancels]}; "
                "look for the wall clock, random names, sets of objects and state that outlives the scenario"
            )
        if self._bound is not None and self._level >= self._bound:
            return
        after = self._running[-1].step if self._running else -1
        for choice in record.choices:
            if choice.step > after or (
                choice.step == after and isinstance(self._running[-1], Cancel)
            ):
                for index in range(1, len(choice.options)):
                    self._note(Overtake(choice.step, index))
        if self._cancel and not cancels:
            self._note_cancels(record, after + 1)

    def _note_cancels(self, record: Record, first: int) -> None:
        ends = {source: step for step, source in enumerate(record.path) if source > 0}
        for index, born in enumerate(record.births[1:], start=2):
            if index in record.spared:
                continue
            for step in range(max(first, born), ends.get(index, -1) + 1):
                self._note(Cancel(step, index))

    def _note(self, deviation: Overtake | Cancel) -> None:
        if len(self._next) < _KEPT:
            self._next.append((*self._running, deviation))
        else:
            self._forgot = True


def _split(deviations: _Deviations) -> tuple[tuple[Overtake, ...], tuple[Cancel, ...]]:
    return (
        tuple(each for each in deviations if isinstance(each, Overtake)),
        tuple(each for each in deviations if isinstance(each, Cancel)),
    )
