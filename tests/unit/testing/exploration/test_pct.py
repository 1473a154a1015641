"""PCT: the bound of the paper holds on a bug whose depth is known."""

from __future__ import annotations

import asyncio
import random

import pytest

from backstay.errors import ExplorationFailure
from backstay.testing import explore
from backstay.testing.exploration._one_run import Rules, run_once
from backstay.testing.exploration._pct import PriorityChange

TASKS = 2
STEPS = 12


async def needs_two_constraints() -> None:
    """Fails only when all of b runs between two neighbouring steps of a: depth 2."""
    a_at = 0

    async def a() -> None:
        nonlocal a_at
        for _ in range(STEPS):
            a_at += 1
            await asyncio.sleep(0)

    async def b() -> None:
        began = a_at
        for _ in range(STEPS - 1):
            await asyncio.sleep(0)
        assert not (a_at == began == STEPS // 2)

    await asyncio.gather(a(), b())


def rate(depth: int, runs: int) -> tuple[float, int]:
    """Return how often PCT finds it, and the most choices a run had."""
    strategy = PriorityChange(random.Random(1), depth)
    found = choices = 0
    for number in range(runs):
        plan = strategy.plan(number)
        record = run_once(needs_two_constraints, plan, Rules())
        strategy.learn(record)
        choices = max(choices, len(record.choices))
        found += record.error is not None
    return found / runs, choices


def test_the_bound_of_the_paper_holds() -> None:
    """A bug of depth d is found by a run with at least 1 / (n * k**(d-1)); n is tasks, k choices."""
    found, choices = rate(depth=2, runs=3000)
    sources = TASKS + 2  # the scenario itself and the callbacks are sources too
    assert found >= 1 / (sources * choices)


def test_a_random_walk_is_far_worse_where_a_task_must_stand_still() -> None:
    """What PCT is for: the same bug in as many random walks is not found at all."""
    explore(needs_two_constraints, strategy="random", schedules=2000)
    with pytest.raises(ExplorationFailure):
        explore(needs_two_constraints, strategy="pct", schedules=2000)


def test_a_spinning_task_of_the_highest_priority_starves_nobody() -> None:
    """No asyncio loop lets a bare-yield loop run for ever alone, so neither do we."""

    async def scenario() -> None:
        done = False

        async def worker() -> None:
            nonlocal done
            for _ in range(5):
                await asyncio.sleep(0)
            done = True

        task = asyncio.create_task(worker())
        while not done:
            await asyncio.sleep(0)
        await task

    explore(scenario, strategy="pct", schedules=300, max_steps=2000)


def test_the_same_seed_gives_the_same_runs() -> None:
    """An exploration repeats itself; another seed gives another one."""

    def paths(seed: int) -> list[list[int]]:
        strategy = PriorityChange(random.Random(seed))
        found = []
        for number in range(20):
            record = run_once(needs_two_constraints, strategy.plan(number), Rules())
            strategy.learn(record)
            found.append(record.path)
        return found

    assert paths(7) == paths(7)
    assert paths(7) != paths(8)


def test_depth_is_a_count() -> None:
    """Less than one constraint is no bug."""
    with pytest.raises(ValueError, match="depth must be at least 1"):
        PriorityChange(random.Random(), 0)
