"""A schedule under many orders of events: what was begun has ended, all is told once, two never run at once."""

from __future__ import annotations

import asyncio

import pytest

from backstay.lifecycle import Every, MemoryLease, Run, Schedule


class Alone:
    """Work that notices when it is not alone, or is done twice."""

    def __init__(self) -> None:
        self.inside = 0
        self.planned: list[float] = []
        self.tokens: list[int] = []

    async def __call__(self, run: Run) -> None:
        assert self.inside == 0, "two at once"
        assert run.planned_at not in self.planned, "twice"
        self.inside += 1
        self.planned.append(run.planned_at)
        self.tokens.append(run.token)
        try:
            await asyncio.sleep(0.3)
        finally:
            self.inside -= 1


@pytest.mark.explore(schedules=5_000, quick=200)
@pytest.mark.parametrize("at", [0.5, 0.501, 0.8])
async def test_told_and_cancelled_at_once_all_is_told_once(at: float) -> None:
    """At the planned instant, just after it, at the end of the run: each instant has one record, no run is alive."""
    work = Alone()
    schedule = Schedule("job", Every(0.5), work, jitter=0.001, drain=0.2)
    running = asyncio.ensure_future(schedule.run())

    async def stop() -> None:
        await asyncio.sleep(at)
        schedule.stop()

    async def cancel() -> None:
        await asyncio.sleep(at)
        running.cancel()

    await asyncio.gather(stop(), cancel(), running, return_exceptions=True)
    statistics = schedule.statistics()
    assert (statistics.state, statistics.running, work.inside) == ("exited", 0, 0)
    planned = [record.planned_at for record in schedule.history()]
    assert len(planned) == len(set(planned))
    assert len(work.planned) == statistics.begun == statistics.done + statistics.cut


@pytest.mark.explore(schedules=5_000, quick=200)
async def test_two_replicas_one_of_which_is_cancelled() -> None:
    """One lease: never both, no instant twice, tokens in order; the other one goes on."""
    lease, work = MemoryLease(), Alone()
    one = Schedule("job", Every(0.5), work, lease=lease, ttl=0.6, late=0.1)
    two = Schedule("job", Every(0.5), work, lease=lease, ttl=0.6, late=0.1)
    first, second = asyncio.ensure_future(one.run()), asyncio.ensure_future(two.run())
    await asyncio.sleep(1.1)
    first.cancel()
    await asyncio.sleep(2.0)
    two.stop()
    await asyncio.gather(first, second, return_exceptions=True)
    assert work.tokens == sorted(set(work.tokens))
    assert two.statistics().done >= 2
    assert one.statistics().failed + two.statistics().failed == 0
