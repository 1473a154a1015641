"""`explore` and `replay`: run a scenario under many schedules, or under one."""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Literal

from backstay._base import reseed
from backstay.errors import UsageError
from backstay.testing.exploration._bounded_dfs import BoundedSearch
from backstay.testing.exploration._cancellations import (
    CancelAtRandom,
    CancelEverywhere,
    Cancellations,
)
from backstay.testing.exploration._exploring_loop import Order, Timers
from backstay.testing.exploration._one_run import Rules, Scenario, refuse_inside_a_loop, run_once
from backstay.testing.exploration._outside_chance import check_same_course
from backstay.testing.exploration._pct import PriorityChange
from backstay.testing.exploration._plan import Plan, Record, Strategy
from backstay.testing.exploration._random import RandomWalk
from backstay.testing.exploration._replay import follow, schedule_of
from backstay.testing.exploration._report import failure
from backstay.testing.exploration._schedule_text import Schedule, decode, encode
from backstay.testing.exploration._shrink import shrink
from backstay.testing.exploration._statistics import Exploration, Tally
from backstay.testing.exploration._trace import Tracer

__all__ = ["explore", "replay"]

StrategyName = Literal["random", "pct", "dfs"]
_DEPTH = 3  # ordering constraints that PCT looks for: few bugs need more
_SWEEP = 64  # runs between two collections of garbage


def explore(
    scenario: Scenario,
    *,
    schedules: int = 1000,
    strategy: StrategyName = "random",
    cancel: bool | Literal["systematic"] = False,
    seed: int = 0,
    replay: str | None = None,
    max_steps: int = 10_000,
    depth: int | None = None,
    order: Order = "tasks",
    timers: Timers = "due",
    spare: Callable[[asyncio.Task[Any]], bool] | None = None,
    track: bool = True,
) -> Exploration:
    """Run an async function under many schedules, and raise when it fails under one.

    ::

        async def scenario() -> None:
            account = Account(100)
            await asyncio.gather(account.withdraw(80), account.withdraw(80))
            assert account.balance >= 0

        explore(scenario)

    The code under test is unmodified asyncio. What is chosen is who runs next:
    a task's wake-up may be late, a callback never is (see
    ``docs/reference/schedule-exploration.md``). A run fails when the scenario
    raises, when everything is stuck, when it does not come to an end, when a
    callback raises, and when a task's error is never looked at.

    Args:
        scenario: an async function without arguments, called anew for each run.
            It builds what it tests, and checks it.
        schedules: how many runs, >= 1.
        strategy: "random" walk, "pct" (random priorities, finds what needs a task
            to stand still for long) or "dfs" (every schedule once, simplest first).
        cancel: True cancels up to two tasks a run at random steps; "systematic"
            each task once at each of its waits. The scenario itself is never
            cancelled; a `CancelledError` that leaves it is then no failure.
        seed: where the dice start; the same seed gives the same runs.
        replay: run only this schedule, as printed with a failure.
        max_steps: steps after which a run counts as endless.
        depth: for "pct" the ordering constraints to look for (3); for "dfs" the
            most deviations from the order of arrival (no limit).
        order: "tasks", or "arrival" to keep the loop's own order and choose only
            among timers that are due at the same time.
        timers: "due", or "early" to let a timer fire while tasks could run, as if
            they had been slow.
        spare: who may not be cancelled.
        track: whether tasks are tracked, as under `backstay.run`.

    Returns:
        What was seen, in numbers.

    Raises:
        ExplorationFailure: a run failed; the message shows the schedule, shrunk to
            what matters, and how to run it again. Its `__cause__` is the error.
        OutsideChance: the scenario does not repeat itself under one schedule.
        UsageError: a loop is running already, or `replay` is no schedule.
        ValueError: a number or a word is out of range.

    Cost: a schedule of twenty steps takes a sixth of a millisecond; see
    ``benchmarks/exploration.py``.
    """
    __tracebackhide__ = True
    if schedules < 1:
        raise ValueError(f"schedules must be at least 1, not {schedules!r}")
    refuse_inside_a_loop()
    if replay is not None:
        return _replay(scenario, replay, max_steps=max_steps, spare=spare, track=track)
    rules = Rules(order, timers, max_steps, track, spare)
    dice = random.Random(seed)
    search = _strategy(strategy, dice, depth, cancel=cancel is True)
    with _quiet_world():
        return _Exploring(scenario, rules, search, _cancellations(cancel, search, dice)).run(
            schedules
        )


def replay(
    scenario: Scenario,
    text: str,
    *,
    max_steps: int = 10_000,
    spare: Callable[[asyncio.Task[Any]], bool] | None = None,
    track: bool = True,
) -> Exploration:
    """Run `scenario` under the one schedule that `text` describes.

    Args:
        scenario: as given to `explore`.
        text: the string that a failure has printed.
        max_steps: as given to `explore`.
        spare: as given to `explore`.
        track: as given to `explore`.

    Raises:
        ExplorationFailure: it fails, with the steps of this run.
        UsageError: `text` is damaged, or the program has changed so much that the
            schedule cannot be followed.
    """
    __tracebackhide__ = True
    refuse_inside_a_loop()
    return _replay(scenario, text, max_steps=max_steps, spare=spare, track=track)


def _strategy(name: str, dice: random.Random, depth: int | None, *, cancel: bool) -> Strategy:
    if name == "random":
        return RandomWalk(dice)
    if name == "pct":
        return PriorityChange(dice, _DEPTH if depth is None else depth)
    if name == "dfs":
        return BoundedSearch(dice, bound=depth, cancel=cancel)
    raise ValueError(f"strategy must be 'random', 'pct' or 'dfs', not {name!r}")


def _cancellations(
    cancel: bool | str, search: Strategy, dice: random.Random
) -> Cancellations | None:
    if cancel == "systematic":
        if isinstance(search, BoundedSearch):
            raise ValueError("strategy 'dfs' tries cancellations itself: give cancel=True")
        return CancelEverywhere()
    if cancel not in {True, False}:
        raise ValueError(f"cancel must be True, False or 'systematic', not {cancel!r}")
    return CancelAtRandom(dice) if cancel and not isinstance(search, BoundedSearch) else None


@contextmanager
def _quiet_world() -> Generator[None]:
    """Give back the dice and the collector of garbage as they were found.

    A collection at a random moment would run finalizers there; so there are none
    while a schedule runs.
    """
    state = random.getstate()
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        random.setstate(state)
        reseed(None)
        if collecting:
            gc.enable()


class _Exploring:
    """One exploration, from the first run to the verdict."""

    def __init__(
        self,
        scenario: Scenario,
        rules: Rules,
        strategy: Strategy,
        cancellations: Cancellations | None,
    ) -> None:
        self._scenario = scenario
        self._rules = rules
        self._strategy = strategy
        self._cancellations = cancellations
        self._settings = Schedule(order=rules.order, timers=rules.timers)
        self._tally = Tally()

    def run(self, schedules: int) -> Exploration:
        __tracebackhide__ = True
        began = time.perf_counter()
        for number in range(schedules):
            plan = self._strategy.plan(number)
            if plan is None:
                break
            self._run(plan)
            if number == 0:
                self._check_repeatable(self._settings)
            if number % _SWEEP == _SWEEP - 1:
                gc.collect(1)
        waits = (0, 0)
        if isinstance(self._cancellations, CancelEverywhere):
            waits = len(self._cancellations.known), len(self._cancellations.struck)
        return self._tally.result(
            exhaustive=isinstance(self._strategy, BoundedSearch) and self._strategy.complete,
            waits=waits,
            elapsed_s=time.perf_counter() - began,
        )

    def _run(self, plan: Plan) -> None:
        __tracebackhide__ = True
        if self._cancellations is not None:
            plan.cancels = self._cancellations.next()
        record = run_once(self._scenario, plan, self._rules)
        self._tally.add(record)
        if record.error is not None:
            self._fail(record)
        self._strategy.learn(record)
        if self._cancellations is not None:
            self._cancellations.learn(record)

    def _check_repeatable(self, schedule: Schedule) -> None:
        traces = [self._traced(schedule)[1].steps for _ in range(2)]
        check_same_course(*traces)

    def _traced(self, schedule: Schedule) -> tuple[Record, Tracer]:
        tracer = Tracer()
        return run_once(self._scenario, follow(schedule), self._rules, tracer), tracer

    def _fail(self, record: Record) -> None:
        __tracebackhide__ = True
        schedule = schedule_of(record, self._settings)
        self._check_repeatable(schedule)
        again = run_once(self._scenario, follow(schedule), self._rules)
        check_same_course(_bare(record), _bare(again))
        smallest = shrink(
            schedule,
            record.signature,
            lambda plan: run_once(self._scenario, plan, self._rules),
        )
        final, tracer = self._traced(smallest)
        found = schedule_of(final, self._settings)
        raise failure(
            final, found, encode(found), tracer.lines, self._tally.schedules
        ) from final.error


def _bare(record: Record) -> list[str]:
    ended = f"the end: {record.kind or 'no failure'}"
    return [*(f"source {source}" for source in record.path), ended]


def _replay(
    scenario: Scenario,
    text: str,
    *,
    max_steps: int,
    spare: Callable[[asyncio.Task[Any]], bool] | None,
    track: bool,
) -> Exploration:
    __tracebackhide__ = True
    schedule = decode(text)
    rules = Rules(schedule.order, schedule.timers, max_steps, track, spare)
    tracer = Tracer()
    tally = Tally()
    began = time.perf_counter()
    with _quiet_world():
        record = run_once(scenario, follow(schedule), rules, tracer)
    tally.add(record)
    found = schedule_of(record, schedule)
    if record.error is not None:
        raise failure(record, found, encode(found), tracer.lines, 1) from record.error
    if schedule.course is not None and found != schedule:
        raise UsageError(
            f"the schedule {text!r} could not be followed to its end: the program has changed since it was "
            "printed, and this run did not fail; explore again"
        )
    return tally.result(exhaustive=False, waits=(0, 0), elapsed_s=time.perf_counter() - began)
