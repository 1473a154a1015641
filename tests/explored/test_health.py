"""A health under many orders of events: one check of a dependency at a time, nothing is left, the readiness agrees."""

from __future__ import annotations

import asyncio

import pytest

from backstay.lifecycle import Health, Readiness, running_health


class Dependency:
    """Fails when told, and notices a second check beside the first."""

    def __init__(self) -> None:
        self.inside = self.asked = 0
        self.down = False

    async def __call__(self) -> None:
        assert self.inside == 0, "two checks at once"
        self.inside += 1
        self.asked += 1
        try:
            await asyncio.sleep(0.01)
            if self.down:
                raise OSError("down")
        finally:
            self.inside -= 1


@pytest.mark.explore(schedules=5_000, quick=200)
@pytest.mark.parametrize("at", [0.0, 0.01, 0.02])
async def test_told_and_cancelled_while_it_checks(at: float) -> None:
    """Told, cancelled, and its check cancelled by a stranger, in any order: nothing runs after."""
    readiness, database = Readiness(), Dependency()
    readiness.succeed()
    health = Health(readiness=readiness)
    health.add("database", database, timeout=0.01, interval=0.01)
    leave = asyncio.Event()
    running = asyncio.ensure_future(health.run(leave))

    async def strike() -> None:
        await asyncio.sleep(at)
        for task in asyncio.all_tasks():
            if task.get_name() == "health check database":
                task.cancel()

    async def tell() -> None:
        await asyncio.sleep(at)
        leave.set()

    async def cancel() -> None:
        await asyncio.sleep(at)
        running.cancel()

    await asyncio.gather(strike(), tell(), cancel(), running, return_exceptions=True)
    assert (database.inside, running_health()) == (0, ())
    # One that never took its first step has never run, and holds the readiness back as before.
    assert readiness.ready or not database.asked


@pytest.mark.explore(schedules=5_000, quick=200)
async def test_the_readiness_says_what_the_checks_say() -> None:
    """While a dependency comes and goes, the flag follows, and no change is lost."""
    readiness, database = Readiness(), Dependency()
    readiness.succeed()
    health = Health(readiness=readiness)
    health.add("database", database, interval=0.01, fail_after=1, recover_after=1)
    heard: list[bool] = []
    readiness.on_change(lambda: heard.append(readiness.ready))

    async def play() -> None:
        for down in (True, False, True):
            await asyncio.sleep(0.6)
            assert readiness.ready == health.ready
            database.down = down
        await asyncio.sleep(0.6)
        assert not readiness.ready

    async with health:
        await play()
    assert heard == [True, False, True, False, True]
