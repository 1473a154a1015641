"""Drop from a failing schedule whatever it does not need to fail.

Delta debugging (Zeller, Hildebrandt: "Simplifying and Isolating Failure-Inducing
Input", TSE 2002) over the deviations: take a part out, run, and keep what fails
in the same way. A schedule of the random walk deviates at half of its steps; the
two or three that matter are what a person needs to see.

What is left cannot lose a single deviation, but another schedule may need fewer;
so all simpler ones are tried as well, as far as a small budget goes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeAlias

from backstay.testing.exploration._bounded_dfs import BoundedSearch
from backstay.testing.exploration._plan import Cancel, Overtake, Plan, Record
from backstay.testing.exploration._replay import follow, schedule_of
from backstay.testing.exploration._schedule_text import Schedule

__all__ = ["shrink"]

# What may be spent on a failing schedule, on each of the two ways: well below a second for a
# short scenario, some seconds for a livelock of ten thousand steps.
_RUNS = 400
_STEPS = 200_000

Runner: TypeAlias = Callable[[Plan], Record]


def shrink(failing: Schedule, signature: object, run: Runner) -> Schedule:
    """Return a schedule with fewer deviations that fails alike, or `failing` itself."""
    smaller = _drop(failing, _Trials(failing, signature, run))
    return _simplest(smaller, _Trials(failing, signature, run)) or smaller


class _Trials:
    """Runs within a budget, and tells which fail as the first one did."""

    def __init__(self, failing: Schedule, signature: object, run: Runner) -> None:
        self._failing = failing
        self._signature = signature
        self._run = run
        self._runs = 0
        self._steps = 0

    @property
    def spent(self) -> bool:
        """Whether the budget is used up."""
        return self._runs >= _RUNS or self._steps >= _STEPS

    def run(self, plan: Plan) -> Record:
        """Run once, with the dice of the failing schedule."""
        plan.chance = self._failing.chance
        record = self._run(plan)
        self._runs += 1
        self._steps += len(record.path)
        return record

    def verdict(self, record: Record) -> Schedule | None:
        """Return what really happened, when it failed alike."""
        return schedule_of(record, self._failing) if record.signature == self._signature else None


def _drop(failing: Schedule, trials: _Trials) -> Schedule:
    """Leave out parts, first large and then small ones, as long as it fails alike."""
    best = failing
    size = max(1, _events(best) // 2)
    while _events(best) and not trials.spent:
        smaller = _drop_one_part(best, size, trials)
        if smaller is not None:
            best = smaller
            size = max(1, min(size, _events(best) // 2))
        elif size == 1:
            break
        else:
            size //= 2
    return best


def _drop_one_part(best: Schedule, size: int, trials: _Trials) -> Schedule | None:
    for start in range(0, _events(best), size):
        happened = trials.verdict(trials.run(follow(_without(best, start, size))))
        if happened is not None and _events(happened) < _events(best):
            return happened
        if trials.spent:
            break
    return None


def _simplest(failing: Schedule, trials: _Trials) -> Schedule | None:
    """Return a schedule that fails alike with fewer deviations than dropping has left."""
    fewer = _events(failing) - 1
    if fewer < 1:  # none at all was what every exploration tries first
        return None
    search = BoundedSearch(random.Random(0), bound=fewer, cancel=bool(failing.cancels))
    for number in range(_RUNS):
        plan = search.plan(number)
        if plan is None or trials.spent:
            break
        record = trials.run(plan)
        happened = trials.verdict(record)
        if happened is not None:
            return happened
        search.learn(record)
    return None


def _events(schedule: Schedule) -> int:
    return len(schedule.overtakes) + len(schedule.cancels)


def _without(schedule: Schedule, start: int, size: int) -> Schedule:
    """Take out deviations, the latest first: what comes after a failure's cause never matters."""
    events: Sequence[Overtake | Cancel] = sorted(
        [*schedule.overtakes, *schedule.cancels], key=lambda event: event.step, reverse=True
    )
    kept = {*events[:start], *events[start + size :]}
    return Schedule(
        tuple(each for each in schedule.overtakes if each in kept),
        tuple(each for each in schedule.cancels if each in kept),
        schedule.chance,
        schedule.order,
        schedule.timers,
    )
