"""One of all replicas runs, no instant is run by two, and whoever loses its lease stops before another may begin."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from schedule_work import SetClock, Work

from backstay import now
from backstay.lifecycle import Every, LeaseGrant, MemoryLease, Schedule
from backstay.lifecycle._lease import Lease, LeaseTerm
from backstay.testing import run_virtual

START = 1_767_225_600.0
TTL = 12.0


class Store(MemoryLease):
    """Leases in memory, with a wire in between that can be cut, hang, or lose answers."""

    def __init__(self) -> None:
        super().__init__()
        self.broken = ""  # "cut", "hangs" or "loses answers"
        self.calls: list[str] = []

    async def _wire(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        self.calls.append(name)
        if self.broken == "cut":
            raise ConnectionError("nobody there")
        if self.broken == "hangs":
            await asyncio.sleep(3600)
        if self.broken == "is slow":
            answer = await call()
            await asyncio.sleep(1.5)
            return answer
        answer = await call()
        if self.broken == "loses answers":
            await asyncio.sleep(3600)
        return answer

    async def acquire(self, *words: Any, **options: Any) -> LeaseGrant | None:
        found: LeaseGrant | None = await self._wire(
            "acquire", lambda: MemoryLease.acquire(self, *words, **options)
        )
        return found

    async def renew(self, grant: LeaseGrant, ttl: float) -> bool:
        return bool(await self._wire("renew", lambda: MemoryLease.renew(self, grant, ttl)))

    async def release(self, grant: LeaseGrant) -> None:
        await self._wire("release", lambda: MemoryLease.release(self, grant))


async def test_the_store_in_memory_keeps_the_protocol() -> None:
    """One holder at a time, again for the same one, tokens that grow, an end by itself, and a word that is remembered."""
    store = MemoryLease()
    assert isinstance(store, Lease)
    first = await store.acquire("job", 10, holder="a")
    assert first is not None
    assert await store.acquire("job", 10, holder="b") is None
    again = await store.acquire("job", 10, holder="a")
    assert again is not None
    assert again.token > first.token
    await asyncio.sleep(9)
    assert await store.renew(first, 10)
    await asyncio.sleep(9)
    assert await store.acquire("job", 10, holder="b") is None
    await asyncio.sleep(2)
    assert not await store.renew(first, 10)
    second = await store.acquire("job", 10, holder="b", once="noon", remember=60)
    assert second is not None
    assert second.token > again.token
    await store.release(first)  # not its own any more
    assert await store.acquire("job", 10, holder="c") is None
    await store.release(second)
    assert await store.acquire("job", 10, holder="c", once="noon", remember=60) is None
    assert await store.acquire("job", 10, holder="c", once="one", remember=60) is not None
    await asyncio.sleep(61)
    assert await store.acquire("job", 10, holder="d", once="noon", remember=60) is not None


def test_a_holder_is_the_first_to_stop() -> None:
    """Renewed at a third, cut at two thirds, counted from the question; an old answer shortens nothing."""
    term = LeaseTerm(12.0, 100.0)
    assert (term.renew_at, term.cut_at, term.over_at) == (104.0, 108.0, 112.0)
    term.renewed(105.0)
    term.renewed(101.0)
    assert (term.renew_at, term.cut_at, term.over_at) == (109.0, 113.0, 117.0)


def replica(store: Lease, work: Work, **options: Any) -> Schedule:
    return Schedule("job", Every(60), work, lease=store, **{"ttl": TTL, **options})


async def test_one_of_two_replicas_runs() -> None:
    """Each instant once; the other one says that it was elsewhere. Long runs are renewed, tokens grow."""
    store, one, two = Store(), Work(30.0), Work(30.0)
    async with replica(store, one) as first, replica(store, two) as second:
        await asyncio.sleep(200)
    assert sorted(one.planned + two.planned) == [START + 60, START + 120, START + 180]
    tokens = [run.token for run in sorted(one.runs + two.runs, key=lambda run: run.planned_at)]
    assert tokens == sorted(set(tokens))
    both = [first.statistics(), second.statistics()]
    assert (sum(each.done for each in both), sum(each.elsewhere for each in both)) == (3, 3)
    assert sum(each.lost + each.lease_errors for each in both) == 0
    assert store.calls.count("renew") >= 3 * 6


async def test_a_replica_whose_clock_is_behind_does_not_do_it_again() -> None:
    """The first has done it and has given the lease back; the instant is remembered."""
    store = Store()
    one, two = Work(1.0), Work(1.0)
    async with replica(store, one):
        await asyncio.sleep(70)
    clock_is_behind = replica(store, two, since=START, missed="once")
    async with clock_is_behind:
        await asyncio.sleep(5)
    assert (one.planned, two.planned) == ([START + 60], [])
    assert [each.outcome for each in clock_is_behind.history()] == ["elsewhere"]


@pytest.mark.parametrize("broken", ["cut", "hangs", "loses answers"])
@pytest.mark.parametrize("deaf", [False, True])
async def test_a_run_whose_lease_cannot_be_renewed_is_cancelled_in_time(
    broken: str, deaf: bool
) -> None:
    """Two thirds of the term after the last renewal that was answered: a third is left for its end."""
    store, work = Store(), Work(50.0, deaf=deaf)
    async with replica(store, work) as schedule:
        await asyncio.sleep(60 + 9)  # renewed at 64 and 68
        store.broken = broken
        await asyncio.sleep(20)
        store.broken = ""
    assert work.ended == [68.0 + TTL * 2 / 3]
    assert [each.outcome for each in schedule.history()] == ["lost"]
    assert "could not be renewed" in schedule.history()[0].error
    assert schedule.statistics().lease_errors >= 2
    assert schedule.statistics().state == "exited"


async def test_a_slow_answer_does_not_make_a_lease_longer() -> None:
    """The store counts from when it heard us, and we from when we asked: an answer after 1.5 s changes nothing."""
    store, work = Store(), Work(50.0)
    store.broken = "is slow"
    async with replica(store, work) as schedule:
        await asyncio.sleep(60 + 1.5 + 8)  # asked at 60, 64 and 68
        store.broken = "cut"
        await asyncio.sleep(20)
    assert work.ended == [68.0 + TTL * 2 / 3]
    assert schedule.statistics().lost == 1


async def test_a_short_trouble_of_the_store_costs_no_run() -> None:
    """Away for less than a third of the term: asked again, renewed, finished."""
    store, work = Store(), Work(30.0)
    async with replica(store, work) as schedule:
        await asyncio.sleep(60 + 4 - 0.5)
        store.broken = "cut"
        await asyncio.sleep(3)
        store.broken = ""
        await asyncio.sleep(30)
    assert (schedule.statistics().done, schedule.statistics().lost) == (1, 0)
    assert work.ended == [90.0]


async def test_a_lease_that_somebody_else_has_got_ends_the_run_at_once() -> None:
    """The store says no: it has lost what it knew, perhaps."""
    store, work = Store(), Work(50.0)
    async with replica(store, work) as schedule:
        await asyncio.sleep(61)
        store._held.clear()
        await asyncio.sleep(10)
    assert work.ended == [64.0]
    assert schedule.history()[0].error == "the store says that it is not ours any more"


@pytest.mark.parametrize("broken", ["cut", "hangs", "loses answers"])
async def test_a_store_that_is_away_when_it_is_time(broken: str) -> None:
    """It is asked again while the run may be late; a lost answer is no loss, since the same one asks again."""
    store, work = Store(), Work(1.0)
    async with replica(store, work, late=20.0) as schedule:
        await asyncio.sleep(59)
        store.broken = broken
        await asyncio.sleep(10)
        store.broken = ""
        await asyncio.sleep(10)
        assert schedule.statistics().done == 1
        store.broken = broken
        await asyncio.sleep(80)
        store.broken = ""
    assert [each.outcome for each in schedule.history()] == ["done", "no lease"]
    assert work.runs[0].late_s >= 9
    assert schedule.statistics().no_lease == 1


@pytest.mark.parametrize("after", [60.0, 60.5, 62.0])
async def test_cancelled_while_it_asks_or_works(after: float) -> None:
    """Nothing is left: a lease that is held is given back, one that was asked for ends by itself."""
    store, work = Store(), Work(50.0)
    schedule = replica(store, work)
    task = asyncio.get_running_loop().create_task(schedule.run())
    if after == 60.5:
        store.broken = "hangs"
    await asyncio.sleep(after)
    store.broken = ""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert schedule.statistics().running == 0
    await asyncio.sleep(TTL)
    assert await store.acquire("job", 1.0, holder="next") is not None
    assert len(work.ended) == len(work.runs)


async def test_told_to_leave_while_it_asks() -> None:
    """A lease that comes when the schedule was told to leave is given back, and nothing is begun."""
    store, work = Store(), Work(1.0)
    schedule = replica(store, work)
    async with schedule:
        await asyncio.sleep(59)
        store.broken = "cut"
        await asyncio.sleep(3)
        schedule.stop()
        store.broken = ""
    assert [each.outcome for each in schedule.history()] == ["left"]
    assert await store.acquire("job", 1.0, holder="next") is not None
    assert now() < 65


async def test_told_to_leave_while_the_store_is_away() -> None:
    """It is not asked again: a drain does not wait for a store."""
    store, work = Store(), Work(1.0)
    async with replica(store, work):
        await asyncio.sleep(59)
        store.broken = "hangs"
        await asyncio.sleep(3)
    assert now() < 65


def test_replicas_with_a_lease_take_turns_one_at_a_time() -> None:
    """More runs at once than the lease lets are a mistake that is told."""
    with pytest.raises(ValueError, match="with a lease it is 1"):
        replica(MemoryLease(), Work(), overlap=2)


def test_a_clock_that_is_set_does_not_touch_a_lease() -> None:
    """Leases last seconds that pass, whatever the wall shows meanwhile."""
    clock = SetClock(START)
    work = Work(30.0)

    async def main() -> Schedule:
        async with replica(Store(), work) as schedule:
            await asyncio.sleep(65)
            clock.set_by(-7200.0)
            await asyncio.sleep(10)
            clock.set_by(7200.0)
            await asyncio.sleep(30)
        return schedule

    schedule = run_virtual(main, clock=clock)
    assert work.ended == [90.0]
    assert schedule.statistics().lost == 0
