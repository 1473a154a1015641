"""Shrinking: what is left is what it takes, and it never costs much."""

from __future__ import annotations

import asyncio

import pytest

from backstay.testing import ExplorationFailure, explore
from backstay.testing.exploration._one_run import Rules, run_once
from backstay.testing.exploration._plan import Plan, Record
from backstay.testing.exploration._schedule_text import Schedule, decode
from backstay.testing.exploration._shrink import shrink


def found(scenario: object, **options: object) -> Schedule:
    """Return the shrunk schedule of the failure."""
    with pytest.raises(ExplorationFailure) as caught:
        explore(scenario, **options)  # type: ignore[arg-type]
    return decode(caught.value.replay)


def test_only_the_deviation_that_matters_is_left() -> None:
    """Of a random walk through five tasks, the one overtaking that makes it fail."""

    async def scenario() -> None:
        log: list[int] = []

        async def step(number: int) -> None:
            await asyncio.sleep(0)
            log.append(number)

        await asyncio.gather(*(step(n) for n in range(5)))
        assert log.index(4) > log.index(3)

    schedule = found(scenario)
    assert len(schedule.overtakes) == 1
    assert not schedule.cancels


def test_a_cancellation_that_matters_stays_alone() -> None:
    """Overtakings around it go."""

    async def scenario() -> None:
        tasks = [asyncio.create_task(asyncio.sleep(0)) for _ in range(4)]
        await asyncio.wait(tasks)
        assert not tasks[2].cancelled()

    schedule = found(scenario, cancel=True)
    assert not schedule.overtakes
    assert [cancel.task for cancel in schedule.cancels] == [4]


def test_a_simpler_schedule_than_dropping_leaves_is_found() -> None:
    """Two deviations of which none can be dropped may have a single one that does the same."""

    async def scenario() -> None:
        free, freed = ["A1"], asyncio.Event()

        async def guest() -> None:
            for _ in range(2):
                if not free:
                    freed.clear()
                    await freed.wait()
                seat = free.pop()
                await asyncio.sleep(0)
                free.append(seat)
                freed.set()
                await asyncio.sleep(0)

        await asyncio.gather(guest(), guest())

    for seed in range(5):
        assert len(found(scenario, seed=seed).overtakes) == 1


def test_a_livelock_is_shrunk_within_a_budget() -> None:
    """Ten thousand steps a run are not run four hundred times."""
    steps = 0

    async def scenario() -> None:
        turn = 0

        async def other() -> None:
            nonlocal turn
            turn += 1

        task = asyncio.create_task(other())
        await asyncio.sleep(0)
        while not turn:
            await asyncio.sleep(0)
        await task

    async def endless() -> None:
        await asyncio.gather(scenario(), scenario())
        while True:
            await asyncio.sleep(0)

    def run(plan: Plan) -> Record:
        nonlocal steps
        record = run_once(endless, plan, Rules(max_steps=10_000))
        steps += len(record.path)
        return record

    first = run(Plan())
    assert first.kind == "budget"
    shrink(Schedule(), first.signature, run)
    assert steps < 500_000
