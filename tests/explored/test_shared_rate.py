"""`SharedRate` under thousands of schedules: callers that leave, a store that hangs, an end at any time.

What must hold whatever strikes: what the store has handed out is spent, held, on its way, or
given back; nobody waits beside what is ripe; the store's own account never goes below what
was spent; and who is not cancelled gets an answer.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from courses import together

from backstay import now
from backstay.errors import GuardMisuse, Rejected
from backstay.guard import MemoryStore, SharedRate
from backstay.guard.rules.shared_quota import Ask, QuotaAnswer

FULL = 10_000
QUICK = 150
LEGAL = (Rejected, GuardMisuse)


class Ledger:
    """A store that keeps account: what was handed out, and what came back."""

    def __init__(self, trip: float = 0.001) -> None:
        self.inner = MemoryStore()
        self.trip = trip
        self.out_us = 0
        self.back_us = 0
        self.hangs = 0

    async def ask(self, ask: Ask) -> QuotaAnswer:
        if self.hangs:
            self.hangs -= 1
            await asyncio.Event().wait()
        await asyncio.sleep(self.trip / 2)
        answer = await self.inner.ask(ask)
        pairs = zip(ask.entries, answer.waits_us, strict=True)
        self.back_us += ask.back_us
        self.out_us += answer.granted_us + sum(one.cost_us for one, wait in pairs if wait >= 0)
        await asyncio.sleep(self.trip / 2)
        return answer

    async def aclose(self) -> None: ...


def check(limit: SharedRate, store: Ledger, used: float) -> None:
    """Hold that each unit is accounted for, once."""
    seen = limit.statistics()
    assert seen.waiting == 0
    assert seen.granted == pytest.approx(used)
    assert seen.available >= 0
    handed_out = (store.out_us - store.back_us) * seen.rate / 1e6
    here = seen.granted - seen.local_granted + limit._book.held + limit._book.coming
    assert here == pytest.approx(handed_out, abs=1e-3)


def spare(task: asyncio.Task[Any]) -> bool:
    """The limit's own tasks are not cancelled one by one: they belong to its scope."""
    return task.get_name().startswith("shared rate ") or "StoreCourier" in repr(task.get_coro())


async def settled(limit: SharedRate) -> None:
    """Wait until no question is under way and nothing is coming."""
    for _ in range(400):
        if not limit._courier.busy and not limit._book.coming:
            return
        await asyncio.sleep(0.005)
    raise AssertionError("a question never ends, or what is coming never ripens")


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True, spare=spare)
async def test_an_exact_limit_loses_and_invents_nothing() -> None:
    """Five callers of different weight, any of whom may be cancelled anywhere."""
    store, times = Ledger(), list[tuple[float, float]]()
    async with SharedRate("x", store, rate=100, burst=3, lease=0) as limit:

        async def use(cost: float) -> None:
            await limit.acquire(cost)
            times.append((now(), cost))

        costs = (1, 3, 2, 1, 2)
        results = await together(*(use(cost) for cost in costs), legal=LEGAL)
        await settled(limit)
        check(limit, store, sum(cost for _, cost in times))
        # What a cancelled caller had been given already goes to the next, and so is spent late.
        passed_on = sum(
            cost for cost, result in zip(costs, results, strict=True) if result is not None
        )
        for first, (begin, _) in enumerate(times):
            for last in range(first, len(times)):
                spent = sum(cost for _, cost in times[first : last + 1])
                assert spent <= 3 + passed_on + 100 * (times[last][0] - begin) + 1e-3


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel="systematic", spare=spare)
async def test_who_leaves_is_no_loss_to_those_behind() -> None:
    """A caller cancelled at each of its awaits in turn; the others are served all the same."""
    store = Ledger()
    async with SharedRate("x", store, rate=100, burst=1, lease=0) as limit:
        results = await together(*(limit.acquire() for _ in range(4)), legal=LEGAL)
        await settled(limit)
        served = sum(result is None for result in results)
        assert served >= 3
        check(limit, store, served)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True, spare=spare)
async def test_leases_of_two_processes_and_units_that_come_back() -> None:
    """Permits that a later guard gives back, and takes without waiting, meet those in line."""
    store, used = Ledger(), [0.0, 0.0]
    limits = [SharedRate("x", store, rate=100, burst=4, lease=lease) for lease in (2, None)]
    for limit in limits:
        await limit.__aenter__()

    async def use(which: int) -> None:
        await limits[which].acquire()
        used[which] += 1

    async def unused(which: int) -> None:
        await asyncio.sleep(0.1)  # the lease is there, and nobody is in line
        if limits[which].try_acquire():
            try:
                await asyncio.sleep(0)
            finally:
                limits[which].give_back()

    await together(*(use(n % 2) for n in range(5)), unused(0), unused(1), legal=LEGAL)
    for limit in limits:
        await settled(limit)
    assert [limit.statistics().granted for limit in limits] == used
    here = sum(x.statistics().granted + x._book.held + x._book.coming for x in limits)
    assert here == pytest.approx((store.out_us - store.back_us) / 1e4, abs=1e-3)
    for limit in limits:
        await limit.close()


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True, spare=spare)
@pytest.mark.parametrize("down", ["local", "closed"])
async def test_a_store_that_hangs_keeps_nobody(down: str) -> None:
    """One question is never answered: everybody gets an answer, and later ones are up again."""
    store = Ledger()
    limit = SharedRate("x", store, rate=100, burst=2, lease=0, on_store_down=down)  # type: ignore[arg-type]
    async with limit:
        await asyncio.sleep(0.01)
        store.hangs = 1
        results = await together(*(limit.acquire() for _ in range(4)), legal=LEGAL)
        if down == "closed":
            assert not any(result is None for result in results)
        served = sum(result is None for result in results)
        assert limit.statistics().waiting == 0
        assert limit.statistics().granted == served
        await asyncio.sleep(2)
        limit.take(now())
        await settled(limit)
        await asyncio.sleep(0.1)
        assert limit.statistics().store == "up"


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True, spare=spare)
async def test_an_end_at_any_time_leaves_nobody_waiting() -> None:
    """Closing meets callers in line and a question under way; nothing of it stays behind."""
    store = Ledger()
    limit = SharedRate("x", store, rate=100, burst=1, lease=0)
    await limit.__aenter__()
    results = await together(
        limit.acquire(), limit.acquire(), limit.acquire(), limit.close(), legal=LEGAL
    )
    await limit.close()
    assert limit.statistics().waiting == 0
    assert limit.statistics().granted == sum(result is None for result in results[:3])
    assert limit._timer is None
    assert not limit._courier.busy
    if not isinstance(results[3], asyncio.CancelledError):
        assert limit._keeper is not None
        assert limit._keeper.done()


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_even_its_own_tasks_may_be_cancelled() -> None:
    """As at the end of `asyncio.run`: callers get an answer or are refused, and nothing is invented."""
    store = Ledger()
    limit = SharedRate("x", store, rate=100, burst=2, lease=0)
    opened = await together(limit.__aenter__(), legal=LEGAL)
    results = await together(*(limit.acquire() for _ in range(4)), legal=LEGAL)
    await together(limit.close(), legal=LEGAL)
    served = sum(result is None for result in results)
    assert limit.statistics().waiting == 0
    assert limit.statistics().granted == served
    assert served * 10_000 <= store.out_us + limit.statistics().local_granted * 10_000
    if opened == [limit] and not limit._closed:
        assert limit._keeper is not None
