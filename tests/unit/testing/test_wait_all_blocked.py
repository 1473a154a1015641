"""`wait_all_blocked`: exact on virtual time, and right on real loops too."""

from __future__ import annotations

import asyncio

import pytest

import backstay
from backstay.testing import explore, wait_all_blocked


async def _count_to(limit: int, seen: list[int], gate: asyncio.Event) -> None:
    for number in range(limit):
        seen.append(number)
        await asyncio.sleep(0)
    await gate.wait()


async def test_it_returns_when_the_others_have_come_to_rest() -> None:
    """Everything that can run has run by then, and time has not moved."""
    seen: list[int] = []
    gate = asyncio.Event()
    task = asyncio.create_task(_count_to(20, seen, gate))
    await wait_all_blocked()
    assert seen == list(range(20))
    assert backstay.now() == 0.0
    assert not task.done()
    gate.set()
    await task


async def test_it_returns_before_time_jumps() -> None:
    """A task that sleeps counts as blocked, and its timer has not fired."""
    task = asyncio.create_task(asyncio.sleep(3600))
    await wait_all_blocked()
    assert not task.done()
    assert backstay.now() == 0.0
    await task


async def test_several_may_wait_at_once() -> None:
    """Those who wait for the others to be blocked do not block each other."""
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(wait_all_blocked())


async def test_a_cancelled_one_leaves_nothing_behind() -> None:
    """After a cancellation the loop still jumps."""
    task = asyncio.create_task(wait_all_blocked())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(5)
    assert task.cancelled()
    assert backstay.now() == 5.0


@pytest.mark.real_loop
async def test_on_a_real_loop() -> None:
    """The stock loop shows who is ready; tasks in a timer count as blocked."""
    seen: list[int] = []
    gate = asyncio.Event()
    task = asyncio.create_task(_count_to(20, seen, gate))
    sleeper = asyncio.create_task(asyncio.sleep(3600))
    await wait_all_blocked()
    assert seen == list(range(20))
    gate.set()
    await task
    sleeper.cancel()


def test_on_uvloop() -> None:
    """A loop that does not show who is ready is watched through its tasks."""
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        seen: list[int] = []
        gate = asyncio.Event()
        task = asyncio.create_task(_count_to(20, seen, gate))
        await wait_all_blocked()
        assert seen == list(range(20))
        gate.set()
        await task

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def test_under_every_schedule() -> None:
    """An exploring loop tells it exactly as the virtual one does."""

    async def scenario() -> None:
        seen: list[int] = []
        gate = asyncio.Event()
        tasks = [asyncio.create_task(_count_to(3, seen, gate)) for _ in range(2)]
        await wait_all_blocked()
        assert sorted(seen) == [0, 0, 1, 1, 2, 2]
        gate.set()
        await asyncio.gather(*tasks)

    explore(scenario, schedules=200)
