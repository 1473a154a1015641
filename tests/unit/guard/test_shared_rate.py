"""`SharedRate` on a virtual clock, with a store whose answers can be late, missing or wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from backstay import now, timeout
from backstay.errors import DeadlineExceeded, GuardMisuse, LimitError
from backstay.guard import MemoryStore, Policy, SharedRate, find
from backstay.guard._store_courier import _Trip
from backstay.guard.rules.shared_quota import Ask, QuotaAnswer


class Store:
    """A memory store behind a network that the test decides about."""

    def __init__(self, trip: float = 0.0005) -> None:
        self.inner = MemoryStore()
        self.trip = trip
        self.asked: list[Ask] = []
        self.error: Exception | None = None
        self.hangs = False

    async def ask(self, ask: Ask) -> QuotaAnswer:
        self.asked.append(ask)
        if self.error is not None:
            raise self.error
        if self.hangs:
            await asyncio.Event().wait()
        await asyncio.sleep(self.trip / 2)
        answer = await self.inner.ask(ask)
        await asyncio.sleep(self.trip / 2)
        return answer

    async def aclose(self) -> None: ...


def shared(store: Store, name: str = "limit", **options: object) -> SharedRate:
    settings: dict[str, object] = {"rate": 100.0, "burst": 10.0, **options}
    return SharedRate(name, store, **settings)  # type: ignore[arg-type]


async def admitted(limit: SharedRate, seconds: float) -> int:
    """Acquire in a loop for so long; return how often that worked."""
    count, until = 0, now() + seconds
    while now() < until:
        await limit.acquire()
        count += 1
    return count


async def test_a_lease_is_spent_without_asking() -> None:
    """What is held costs no question, and at the half of it more is fetched."""
    store = Store()
    async with shared(store, rate=1000.0, burst=100.0) as limit:
        await asyncio.sleep(0.01)
        assert limit.statistics().available == limit.statistics().lease == 10
        asked = len(store.asked)
        assert all(limit.try_acquire() for _ in range(5))
        assert len(store.asked) == asked
        assert limit.try_acquire()
        await asyncio.sleep(0.01)
        assert limit.statistics().available == 10
        assert len(store.asked) == asked + 1
        statistics = limit.statistics()
        assert (statistics.granted, statistics.rejected, statistics.store) == (6, 0, "up")


@pytest.mark.parametrize("lease", [None, 0.0])
@pytest.mark.parametrize("processes", [1, 4])
async def test_all_together_keep_the_rate_and_use_it(lease: float | None, processes: int) -> None:
    """Greedy callers get all of it, whoever they are, and no more than that and the leases."""
    store = Store()
    limits = [shared(store, lease=lease) for _ in range(processes)]
    try:
        for limit in limits:
            await limit.__aenter__()
        await asyncio.sleep(1)
        counts = await asyncio.gather(*(admitted(limit, 4) for limit in limits for _ in range(3)))
        bound = 10 + 400 + sum(limit.statistics().lease for limit in limits) + 3 * processes
        assert 395 <= sum(counts) <= bound
        assert min(counts) > 0.5 * max(counts), "nobody starves"
    finally:
        for limit in limits:
            await limit.close()


async def test_the_exact_limit_is_exact() -> None:
    """Without a lease any span admits a burst and the rate, and not one more."""
    store = Store()
    times: list[float] = []

    async def use(limit: SharedRate) -> None:
        for _ in range(40):
            await limit.acquire()
            times.append(now())

    async with shared(store, lease=0) as one, shared(store, lease=0) as two:
        await asyncio.sleep(1)
        await asyncio.gather(*(use(limit) for limit in (one, two, one, two)))
    times.sort()
    for first in range(len(times)):
        for last in range(first, len(times)):
            span = times[last] - times[first]
            assert last - first + 1 <= 10 + 100 * span + 1e-6


async def test_calls_are_served_in_the_order_in_which_they_came() -> None:
    """In one process by its line, between processes by the store."""
    store = Store()
    order: list[int] = []

    async def one(limit: SharedRate, number: int) -> None:
        await limit.acquire()
        order.append(number)

    async with (
        shared(store, burst=1.0, lease=0) as left,
        shared(store, burst=1.0, lease=0) as right,
    ):
        tasks: list[asyncio.Task[None]] = []
        for number in range(12):
            tasks.append(asyncio.create_task(one((left, right)[number % 2], number)))
            await asyncio.sleep(0.002)
        await asyncio.gather(*tasks)
    assert order == sorted(order)


async def test_a_wait_that_is_too_long_is_refused_at_once() -> None:
    """By the store the first time, and from what it said after that."""
    store = Store()
    async with shared(store, lease=0, max_wait=0.05) as limit:
        for _ in range(10):
            await limit.acquire()
        began = now()
        errors = []
        results = await asyncio.gather(*(limit.acquire() for _ in range(9)), return_exceptions=True)
        errors = [error for error in results if isinstance(error, LimitError)]
        assert 3 <= len(errors) <= 5
        assert all(0.05 < (error.retry_after or 0) < 0.12 for error in errors)
        assert "would come free in" in str(errors[0])
        assert now() - began < 0.06
        for _ in range(3):
            await limit.acquire()
        await asyncio.gather(*(limit.acquire() for _ in range(5)), return_exceptions=True)
        asked = len(store.asked)
        with pytest.raises(LimitError):
            async with timeout(0.001):
                await limit.acquire()
        assert len(store.asked) <= asked + 1
    assert limit.statistics().rejected >= 4


async def test_what_a_caller_leaves_goes_to_the_next() -> None:
    """A place that was reserved for a call that went away serves the one behind it."""
    store = Store()
    async with shared(store, burst=1.0, lease=0) as limit:
        await limit.acquire()
        first = asyncio.create_task(limit.acquire())
        second = asyncio.create_task(limit.acquire())
        await asyncio.sleep(0.003)
        began = now()
        first.cancel()
        await second
        assert now() - began < 0.010, "it moved up"
        with pytest.raises(asyncio.CancelledError):
            await first
        assert limit.statistics().granted == 2


async def test_what_is_not_used_goes_back() -> None:
    """Without a lease a place that nobody wants any more is given back to the others."""
    store = Store()
    async with (
        shared(store, burst=1.0, lease=0) as left,
        shared(store, burst=1.0, lease=0) as right,
    ):
        await left.acquire()
        gone = asyncio.create_task(left.acquire())
        await asyncio.sleep(0.003)
        gone.cancel()
        await asyncio.sleep(0.010)
        assert any(ask.back_us for ask in store.asked)
        began = now()
        await right.acquire()
        assert now() - began < 0.003
        assert isinstance((await asyncio.gather(gone, return_exceptions=True))[0], BaseException)


@pytest.mark.parametrize("how", ["hangs", "fails"])
@pytest.mark.parametrize(
    ("on_store_down", "expected"), [("local", 400), ("open", 9), ("closed", 0)]
)
async def test_while_the_store_is_down(how: str, on_store_down: str, expected: int) -> None:
    """No call waits longer than the budget, and each mode does what it says."""
    store = Store()
    async with shared(store, on_store_down=on_store_down, lease=0) as limit:
        await limit.acquire()
        store.hangs, store.error = how == "hangs", OSError("refused") if how == "fails" else None
        longest = 0.0
        got = 0
        refused: list[LimitError] = []
        for _ in range(9):
            began = now()
            try:
                async with timeout(1):
                    await limit.acquire()
                got += 1
            except LimitError as error:
                refused.append(error)
            longest = max(longest, now() - began)
        why = "OSError: refused" if how == "fails" else "within 20 ms"
        assert all(why in str(error) and error.retry_after for error in refused)
        assert (len(refused) > 0) == (on_store_down == "closed")
        assert limit.statistics().store == "down"
        assert limit.statistics().store_errors >= 1
        if on_store_down == "local":
            assert got == 9
            until, count = now() + 4, 0
            while now() < until:
                await limit.acquire()
                count += 1
            assert expected * 0.95 <= count <= expected + 11
        else:
            assert longest <= 0.021
            assert got == expected


async def test_the_local_share_is_a_share_and_begins_empty() -> None:
    """Four processes that lose the store admit as much as before, and no second burst."""
    store = Store()
    limits = [shared(store, lease=0) for _ in range(4)]
    for limit in limits:
        await limit.__aenter__()
    for _ in range(4):
        await asyncio.gather(*(limit.acquire() for limit in limits))
    assert limits[0].statistics().processes == 4
    store.error = OSError("gone")
    counts = await asyncio.gather(*(admitted(limit, 4) for limit in limits))
    assert 360 <= sum(counts) <= 405
    for limit in limits:
        await limit.close()


async def test_an_outage_leaves_the_limit_of_all_as_it_was() -> None:
    """A share is smaller than a burst: what does not fit is refused meanwhile, and fits again after."""
    store = Store()
    limits = [shared(store, lease=0) for _ in range(4)]
    for limit in limits:
        await limit.__aenter__()
    for _ in range(4):
        await asyncio.gather(*(limit.acquire() for limit in limits))
    one = limits[0]
    store.error = OSError("gone")
    await one.acquire()
    assert one.statistics().store == "down"
    one.update(burst=12.0)
    with pytest.raises(LimitError, match="store is down") as caught:
        await one.acquire(10)
    assert caught.value.retry_after == 1
    assert not one.try_acquire(10)
    assert 95 <= await admitted(one, 4) <= 105, "still a quarter of the rate"
    store.error = None
    await asyncio.sleep(6)
    one.try_acquire()
    await asyncio.sleep(1)
    assert one.statistics().store == "up"
    await one.acquire(12)
    for limit in limits:
        await limit.close()


async def test_an_opening_that_is_cancelled_leaves_no_task() -> None:
    """Nobody leaves a block that was never entered, so its keeper must end by itself."""
    limit = shared(Store())
    opening = asyncio.ensure_future(limit.__aenter__())
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await asyncio.sleep(0.001)
    assert limit._keeper is not None
    assert limit._keeper.done()
    with pytest.raises(GuardMisuse, match="is closed"):
        await limit.acquire()


async def test_it_comes_back_by_itself() -> None:
    """A probe on which nobody waits finds out that the store answers again."""
    store = Store()
    async with shared(store, on_store_down="closed", lease=0) as limit:
        store.hangs = True
        with pytest.raises(LimitError):
            await limit.acquire()
        store.hangs = False
        recovered = None
        began = now()
        while recovered is None and now() - began < 10:
            try:
                await limit.acquire()
                recovered = now() - began
            except LimitError:
                await asyncio.sleep(0.01)
        assert recovered is not None
        assert recovered < 1.5, "the question that hung lives for a second"
        assert limit.statistics().store == "up"


async def test_a_late_answer_still_counts() -> None:
    """What was handed out late is used, so that it is not lost to everybody."""
    store = Store()
    async with shared(store, on_store_down="open", lease=0) as limit:
        await asyncio.sleep(0.01)
        store.trip = 0.1
        await limit.acquire()
        assert limit.statistics().local_granted == 1
        await asyncio.sleep(0.2)
        assert limit.statistics().available == 1


async def test_a_blocked_loop_does_not_blame_the_store() -> None:
    """A timer that runs late says nothing about the store; its answer gets some turns more."""
    store = Store(trip=0.010)
    async with shared(store, lease=0, on_store_down="closed") as limit:
        await asyncio.sleep(0.05)
        loop = asyncio.get_running_loop()
        trip = _Trip(limit._courier, 0, 60.0)
        for _ in range(5):
            trip._over_budget(loop.time() - 0.1)
            trip.end()
            assert limit.statistics().store == "up"
        trip._over_budget(loop.time())
        assert limit.statistics().store == "down", "in time, and no answer"


async def test_closing_refuses_who_waits_and_gives_back_what_is_held() -> None:
    """Nobody waits for a limit that is gone, and a lease is not lost to the others."""
    store = Store()
    limit = shared(store, rate=1000.0, burst=100.0)
    async with limit:
        await asyncio.sleep(0.01)
    assert store.asked[-1].back_us == 10_000
    with pytest.raises(GuardMisuse, match="is closed"):
        await limit.acquire()
    waits = shared(store, "other", burst=1.0, lease=0)
    async with waits:
        await waits.acquire()
        task = asyncio.create_task(waits.acquire())
        await asyncio.sleep(0.002)
    with pytest.raises(GuardMisuse, match="is closed"):
        await task


async def test_closing_does_not_wait_for_a_store_that_hangs() -> None:
    """The courtesy of giving back has the budget of every other question."""
    store = Store()
    limit = shared(store, rate=1000.0, burst=100.0)
    async with limit:
        await asyncio.sleep(0.01)
        store.hangs = True
        began = now()
    assert now() - began < 0.03


async def test_shadow_mode_counts_and_lets_through() -> None:
    """Whom it would have made wait goes on at once."""
    store = Store()
    async with shared(store, lease=0, mode="shadow") as limit:
        began = now()
        for _ in range(50):
            await limit.acquire()
        assert now() == began
        assert limit.statistics().rejected == 50
        assert limit.statistics().granted == 50


async def test_it_works_in_a_policy() -> None:
    """A policy takes from it, gives back what a later guard refused, and says who refused."""
    store = Store()

    async def answer() -> int:
        return 1

    async with shared(store, "of a policy", lease=0, max_wait=0.05) as limit:
        policy = Policy("dependency", rate=limit, deadline=1.0)
        results = await asyncio.gather(
            *(policy.call(answer) for _ in range(30)), return_exceptions=True
        )
        good = [result for result in results if result == 1]
        assert 10 <= len(good) <= 16
        assert all(isinstance(result, LimitError) for result in results if result != 1)
        assert limit in policy.parts
        assert find("of a policy") is limit


async def test_misuse_is_named() -> None:
    """What is wrong, and what to do."""
    store = Store()
    limit = shared(store)
    with pytest.raises(GuardMisuse, match="is not open: use it inside 'async with'"):
        limit.try_acquire()
    async with limit:
        with pytest.raises(GuardMisuse, match="was opened before"):
            await limit.__aenter__()
        with pytest.raises(ValueError, match="cannot take 11"):
            await limit.acquire(11)
    makers: list[tuple[Callable[[], object], str]] = [
        (lambda: shared(store, on_store_down="maybe"), "'maybe'"),
        (lambda: shared(store, rate=0.0), "a rate is above 0"),
        (lambda: shared(store, lease=-1.0), "lease is at least 0"),
        (lambda: shared(store, budget=0.0), "budget is above 0"),
        (lambda: shared(store, max_wait=-1.0), "max_wait is at least 0"),
        (lambda: SharedRate("", store, rate=1), "needs a name"),
        (lambda: limit.update(on_store_down="no"), "'no'"),  # type: ignore[arg-type]
        (lambda: limit.update(rate=-1), "a rate is above 0"),
    ]
    for make, words in makers:
        with pytest.raises(ValueError, match=words):
            make()


async def test_a_deadline_ends_the_wait() -> None:
    """A caller whose time is up while it waits has taken nothing."""
    store = Store(trip=0.015)
    async with shared(store, burst=1.0, lease=0) as limit:
        await limit.acquire()
        wait: Callable[[], Awaitable[None]] = limit.acquire
        with pytest.raises((DeadlineExceeded, LimitError)):
            async with timeout(0.010):
                await wait()
        assert limit.statistics().granted == 1
        assert limit.statistics().waiting == 0


async def test_settings_change_while_it_works() -> None:
    """A higher rate serves who asks from now on."""
    store = Store()
    async with shared(store, lease=0) as limit:
        limit.update(rate=1000.0, burst=100.0, on_store_down="closed")
        assert "1000/s burst=100" in repr(limit)
        assert limit.rate == 1000
        assert await admitted(limit, 1) >= 990


async def test_a_permit_takes_for_a_block() -> None:
    """What was taken is spent at the end."""
    store = Store()
    async with shared(store, lease=0) as limit:
        async with limit.permit(3):
            pass
        assert limit.statistics().granted == 3
