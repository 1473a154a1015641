"""`Rate`: so many a second, in order of arrival, and nobody waits in vain."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from backstay import now, timeout
from backstay.errors import LimitError, SyncMisuse
from backstay.guard import Pace, Policy, Rate, WarmUp
from backstay.testing import run_virtual


async def test_a_burst_and_then_the_rate() -> None:
    """What cannot go at once waits for its turn, in order."""
    rate = Rate(10, 2, name="r")
    served: list[tuple[int, float]] = []

    async def caller(number: int) -> None:
        await rate.acquire()
        served.append((number, round(now(), 6)))

    await asyncio.gather(*(caller(n) for n in range(5)))
    assert served == [(0, 0.0), (1, 0.0), (2, 0.1), (3, 0.2), (4, 0.3)]
    seen = rate.statistics()
    assert (seen.granted, seen.waiting, seen.wait.count) == (5, 0, 3)


async def test_greedy_workers_get_no_more_than_the_limit() -> None:
    """50 a second with a burst of 50: 200 in three seconds, and never 101 in one."""
    rate = Rate(50, 50)
    times: list[float] = []

    async def greedy() -> None:
        while True:
            await rate.acquire()
            times.append(now())

    workers = [asyncio.ensure_future(greedy()) for _ in range(5)]
    await asyncio.sleep(3)
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    assert 199 <= len(times) <= 201
    assert max(sum(start <= t < start + 1 for t in times) for start in times) <= 100


async def test_a_heavy_call_is_not_overtaken_for_ever() -> None:
    """Weight 40 among greedy workers of weight 1 is served when 40 have come free."""
    rate = Rate(50, 50)

    async def greedy() -> None:
        while True:
            await rate.acquire()

    workers = [asyncio.ensure_future(greedy()) for _ in range(5)]
    await asyncio.sleep(1)
    began = now()
    await rate.acquire(40)
    assert now() - began == pytest.approx(0.9, abs=0.11)
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)


async def test_take_goes_past_nobody() -> None:
    """While somebody waits, nothing is free for who did not."""
    rate = Rate(1, 1)
    assert rate.try_acquire()
    waiting = asyncio.ensure_future(rate.acquire())
    await asyncio.sleep(0.5)
    assert not rate.try_acquire()
    await waiting
    assert now() == 1.0


async def test_a_wait_that_cannot_end_in_time_is_refused_at_once() -> None:
    """By the caller's deadline or `max_wait`, those in line counted in."""
    rate = Rate(1, 1, name="slow")
    assert rate.try_acquire()
    with pytest.raises(LimitError, match=r"1 would come free in 1 s, and its deadline") as caught:
        async with timeout(0.5):
            await rate.acquire()
    assert (now(), caught.value.retry_after, caught.value.policy) == (0.0, 1.0, "slow")
    waiting = [asyncio.ensure_future(rate.acquire()) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(LimitError):
        async with timeout(2.5):
            await rate.acquire()
    rate.update(max_wait=0.1)
    with pytest.raises(LimitError, match=r"max_wait is 0.1 s"):
        await rate.acquire()
    assert rate.rejected == 3
    await asyncio.gather(*waiting)
    assert now() == 2.0


async def test_a_cancelled_waiter_takes_nothing_and_those_behind_move_up() -> None:
    """Also when it was served in the very turn of the cancel."""
    rate = Rate(1, 1)
    assert rate.try_acquire()
    first, second = (asyncio.ensure_future(rate.acquire()) for _ in range(2))
    await asyncio.sleep(0.5)
    first.cancel()
    await second
    assert now() == 1.0
    third = asyncio.ensure_future(rate.acquire())
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_at(2.0, third.cancel)
    await asyncio.sleep(1.0)
    await asyncio.wait([third])
    if third.cancelled():
        assert rate.try_acquire()


async def test_given_back_it_serves_who_waits() -> None:
    """A permit that a later guard made useless goes to the next."""
    rate = Rate(1, 1)
    assert rate.try_acquire()
    waiting = asyncio.ensure_future(rate.acquire())
    await asyncio.sleep(0)
    rate.give_back()
    await waiting
    assert now() == 0.0
    assert rate.statistics().granted == 1


async def test_an_update_serves_who_waits_by_the_new_limit() -> None:
    """A higher rate shortens the wait that is under way; a lower one stretches it."""
    rate = Rate(1, 1)
    assert rate.try_acquire()
    waiting = asyncio.ensure_future(rate.acquire())
    await asyncio.sleep(0.5)
    rate.update(rate=10)
    await waiting
    assert now() == pytest.approx(0.55)
    rate.update(rate=0.5, burst=2)
    assert "0.5/s burst=2" in repr(rate)
    with pytest.raises(ValueError, match="rate"):
        rate.update(rate=0)


async def test_in_shadow_mode_nobody_waits() -> None:
    """What would have been refused is counted."""
    rate = Rate(1, 1, max_wait=0.5, mode="shadow")
    for _ in range(5):
        await rate.acquire()
    assert now() == 0.0
    assert rate.rejected == 4
    patient = Rate(10, 1, mode="shadow")
    for _ in range(5):
        await patient.acquire()
    assert now() == 0.0
    assert (patient.rejected, patient.statistics().granted) == (0, 5)


async def test_as_a_block_a_permit_and_a_decorator() -> None:
    """Each use takes what it says, and signature and kind of a function stay."""
    rate = Rate(10, 1)

    @rate
    async def look_up(name: str) -> str:
        """Find it."""
        return name

    assert inspect.iscoroutinefunction(look_up)
    assert (look_up.__doc__, str(inspect.signature(look_up))) == (
        "Find it.",
        "(name: 'str') -> 'str'",
    )
    assert await look_up("a") == "a"
    async with rate:
        assert now() == pytest.approx(0.1)
    rate.update(burst=5)
    async with rate.permit(2):
        assert rate.statistics().granted == 4
    assert await rate.call(look_up, "b") == "b"
    assert "Rate" in repr(rate)
    with pytest.raises(TypeError, match="async function"):
        rate(len)  # type: ignore[arg-type]


async def test_nonsense_is_refused() -> None:
    """At once, and not after a wait that never ends."""
    for bad in ({"rate": 0}, {"rate": 1, "burst": 0}, {"rate": 1, "max_wait": -1}):
        with pytest.raises(ValueError, match="not"):
            Rate(**bad)  # type: ignore[arg-type]
    rate = Rate(1, 2)
    rate.try_acquire(2)
    with pytest.raises(ValueError, match="burst of 2"):
        await rate.acquire(3)


def test_one_loop_after_another_and_not_two_at_a_time() -> None:
    """A limit made at import time serves each run."""
    rate = Rate(1, 1)

    async def left_waiting() -> None:
        rate.try_acquire()
        task = asyncio.ensure_future(rate.acquire())
        await asyncio.sleep(0)
        with pytest.raises(SyncMisuse):
            run_in_thread(rate)
        task.cancel()

    def run_in_thread(shared: Rate) -> None:
        import concurrent.futures

        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, shared.acquire()).result()

    asyncio.run(left_waiting())
    run_virtual(lambda: asyncio.sleep(0))


async def test_a_rate_warms_up_after_the_start_and_after_a_pause() -> None:
    """A greedy caller gets the cold rate first, and the full one after the period."""
    rate = Rate(90, 1, warm_up=WarmUp(10, cold_factor=3))
    times: list[float] = []

    async def greedy(until: float) -> None:
        while now() < until:
            await rate.acquire()
            times.append(now())

    def within(begin: float, end: float) -> int:
        return sum(begin <= t < end for t in times)

    await greedy(20)
    assert within(0, 1) == pytest.approx(33, abs=3)
    assert within(9, 10) == pytest.approx(87, abs=3)
    assert within(19, 20) == pytest.approx(90, abs=2)
    assert rate.statistics().permitted == pytest.approx(90)
    await asyncio.sleep(10)
    assert rate.statistics().permitted == pytest.approx(30, rel=0.01)
    begun = now()
    await greedy(begun + 1)
    assert within(begun, begun + 1) == pytest.approx(33, abs=3)


async def test_a_rate_that_warms_up_works_in_a_policy() -> None:
    """There, too, nobody goes past the rule."""
    policy = Policy("cold", rate=Rate(90, 1, warm_up=WarmUp(10, cold_factor=3)))
    calls = 0

    async def work() -> None:
        nonlocal calls
        calls += 1

    while now() < 1.0:
        await policy.call(work)
    assert calls == pytest.approx(33, abs=3)


async def test_a_paced_rate_lets_calls_leave_at_even_spacing() -> None:
    """Whatever their weight; a heavy one keeps those behind it back, not itself."""
    rate = Rate(10, pace=Pace(1.0))
    left: list[tuple[int, float]] = []

    async def caller(cost: int) -> None:
        await rate.acquire(cost)
        left.append((cost, round(now(), 6)))

    await asyncio.gather(caller(1), caller(5), caller(1), caller(1))
    assert left == [(1, 0.0), (5, 0.1), (1, 0.6), (1, 0.7)]
    await asyncio.sleep(5)
    await asyncio.gather(caller(1), caller(1))
    assert [t for _, t in left[-2:]] == [5.7, 5.8], "a pause saves nothing up"


async def test_the_queue_of_a_paced_rate_is_bounded() -> None:
    """In time and in number; who is refused is told when to come back."""
    rate = Rate(10, name="paced", pace=Pace(0.25, max_queue=9))
    results = await asyncio.gather(*(rate.acquire() for _ in range(5)), return_exceptions=True)
    assert results[:3] == [None, None, None]
    assert [type(r) for r in results[3:]] == [LimitError, LimitError]
    assert "max_wait is 0.25 s" in str(results[3])
    rate = Rate(10, name="paced", pace=Pace(max_queue=1))
    results = await asyncio.gather(*(rate.acquire() for _ in range(3)), return_exceptions=True)
    assert results[:2] == [None, None]
    assert "max_queue is 1" in str(results[2])
    assert isinstance(results[2], LimitError)
    assert results[2].retry_after == pytest.approx(0.2)
    rate = Rate(1, pace=Pace(max_wait=0.5))
    rate.update(max_wait=2.5)
    results = await asyncio.gather(*(rate.acquire() for _ in range(4)), return_exceptions=True)
    assert results[:3] == [None, None, None]
    assert "max_wait is 2.5 s" in str(results[3])


def test_modes_that_exclude_each_other_are_refused() -> None:
    """With what to do."""
    with pytest.raises(ValueError, match="warm_up= with burst=1"):
        Rate(1, warm_up=WarmUp(), pace=Pace())
    with pytest.raises(ValueError, match="burst is 1"):
        Rate(1, 5, pace=Pace())
