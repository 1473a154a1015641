"""Rates that warm up, pace and follow, under thousands of schedules with a cancel at every await.

What must hold whatever strikes: no unit is lost or given twice, nobody waits beside what is
free, no more is let in than the mode says, and who follows a source leaves nothing behind.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from courses import step, together

from backstay import now
from backstay.errors import DeadlineExceeded, LimitError, Rejected
from backstay.guard import (
    AdaptiveRate,
    Bulkhead,
    CounterSource,
    Pace,
    Policy,
    Rate,
    Throughput,
    ThroughputLimit,
    WarmUp,
)

FULL = 10_000
QUICK = 150


class Trouble(ConnectionError):
    """The dependency fails, or the source does."""


LEGAL = (Rejected, Trouble, DeadlineExceeded)


Taken = list[tuple[float, float]]


async def use(rate: Rate, cost: float, taken: Taken) -> None:
    await rate.acquire(cost)
    taken.append((now(), cost))


def check_left(rate: Rate, taken: Taken) -> None:
    """Hold that nobody is left, and that what was granted is what was taken."""
    seen = rate.statistics()
    assert seen.waiting == 0
    assert rate._timer is None, "a timer without a waiter"
    assert seen.granted == pytest.approx(sum(cost for _, cost in taken))


# -- paced -------------------------------------------------------------------------------


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_a_paced_rate_keeps_its_spacing_and_its_order_whoever_gives_up() -> None:
    """Callers of different weight, one comes as another leaves; the earlier ones leave first."""
    rate = Rate(10, pace=Pace(max_wait=10.0))
    taken: Taken = []
    came: list[int] = []
    left: list[int] = []

    async def caller(number: int, cost: float, after: float) -> None:
        await asyncio.sleep(after)
        came.append(number)
        await use(rate, cost, taken)
        left.append(number)

    costs = (1, 3, 2, 1, 2, 1)
    results = await together(
        *(caller(n, cost, 0.1 * (n > 4)) for n, cost in enumerate(costs)), legal=LEGAL
    )
    assert left == [number for number in came if number in left]
    served = [cost for cost, result in zip(costs, results, strict=True) if result is None]
    assert sorted(cost for _, cost in taken) == sorted(served)
    check_left(rate, taken)
    for (before, cost), (after, _) in pairwise(taken):
        assert after >= before + cost / 10 - 1e-6
    total = 0.1 + sum(costs) / 10
    assert all(when <= total for when, _ in taken), "nobody waits beside what is free"


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel="systematic")
async def test_the_queue_of_a_paced_rate_has_room_again_when_somebody_leaves_it() -> None:
    """At most two wait; who finds them there is refused, and whoever comes later is not."""
    rate = Rate(10, pace=Pace(max_wait=10.0, max_queue=2))
    taken: Taken = []

    async def watched() -> None:
        try:
            await use(rate, 1, taken)
        except LimitError:
            assert rate.statistics().waiting == 2

    await together(*(watched() for _ in range(5)), legal=LEGAL)
    check_left(rate, taken)
    await asyncio.sleep(1)
    await use(rate, 1, taken)
    check_left(rate, taken)


# -- warming up ----------------------------------------------------------------------------


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_a_rate_that_warms_up_loses_no_unit_and_grants_no_more_than_a_plain_one() -> None:
    """Callers, one that gives back, and a change of the limit meet in every order."""
    rate = Rate(10, 3, warm_up=WarmUp(2.0))
    taken: Taken = []

    async def unused() -> None:
        if rate.try_acquire():
            try:
                await step()
            finally:
                rate.give_back()

    async def change() -> None:
        await step()
        rate.update(rate=20)
        await step()
        rate.update(burst=4)

    await together(
        *(use(rate, cost, taken) for cost in (1, 3, 2, 1)), unused(), change(), legal=LEGAL
    )
    check_left(rate, taken)
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            spent = sum(cost for _, cost in taken[first : last + 1])
            assert spent <= 4 + 20 * (taken[last][0] - taken[first][0]) + 1e-6


# -- following -------------------------------------------------------------------------------


class Source:
    """Answers in turn: well, badly, with an error, never."""

    def __init__(self, *kinds: str) -> None:
        self.kinds = list(kinds)
        self.running = 0

    async def measure(self, since: float) -> Throughput:
        kind = self.kinds.pop(0) if self.kinds else "well"
        self.running += 1
        try:
            await step()
            if kind == "error":
                raise Trouble
            if kind == "never":
                await asyncio.sleep(1000)
            await step()
        finally:
            self.running -= 1
        return Throughput(20.0 if kind == "well" else 1.0, 20.0, 300.0)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_a_followed_rate_leaves_nothing_behind_whenever_its_follower_is_cut() -> None:
    """The source may fail, hang and answer while callers wait; afterwards it can be followed again."""
    source = Source("well", "error", "badly", "never")
    rate = AdaptiveRate(
        ThroughputLimit(10.0, floor=1.0), source, burst=2, every=0.05, timeout=0.2, stale_after=0.1
    )
    taken: Taken = []

    follower = asyncio.ensure_future(rate.follow())

    async def cut() -> None:
        await asyncio.sleep(0.6)
        follower.cancel()

    results = await together(cut(), *(use(rate, cost, taken) for cost in (1, 2, 1)), legal=LEGAL)
    follower.cancel()
    await asyncio.wait([follower])
    assert follower.cancelled()
    assert source.running == 0, "a request runs on"
    assert not rate._followed, "it counts as followed for ever"
    assert len(taken) == sum(result is None for result in results[1:])
    check_left(rate, taken)
    seen = rate.statistics()
    assert 1.0 <= seen.limit <= 24.0
    assert seen.rate in (1.0, seen.limit)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel="systematic")
async def test_each_call_teaches_the_rate_once_or_says_nothing() -> None:
    """What ended well and badly is counted, what was cancelled is not, and the limit may move."""
    rate = AdaptiveRate(ThroughputLimit(10.0, minimum=1000.0), burst=2, warm_up=None)
    begun = 0

    async def work(number: int) -> int:
        nonlocal begun
        begun += 1
        await asyncio.sleep(0.05)
        if number % 2:
            raise Trouble
        return number

    async def move() -> None:
        await step()
        rate._put(3.0, "the rule says so")
        await asyncio.sleep(0.2)
        rate._put(30.0, "the rule says so")

    results = await together(*(rate.call(work, number) for number in range(5)), move(), legal=LEGAL)
    good = sum(isinstance(result, int) for result in results)
    bad = sum(isinstance(result, Trouble) for result in results)
    counted = [sum(one[kind] for one in rate._window._steps) for kind in (1, 2)]
    assert counted == [good, good + bad]
    assert begun >= good + bad
    assert rate.statistics().waiting == 0
    assert rate._timer is None


@pytest.mark.explore(schedules=FULL // 2, quick=QUICK, cancel=True)
async def test_in_a_policy_an_adaptive_rate_gives_back_what_was_not_used() -> None:
    """One place behind it: who goes away while he waits for that gives his unit back."""

    def count() -> tuple[float, float]:
        seen = policy.statistics()
        return seen.ok, seen.ok + seen.failed

    rate = AdaptiveRate(
        ThroughputLimit(100.0, window=1.0, minimum=1.0),
        CounterSource(count, window=1.0),
        every=0.02,
    )
    policy: Policy = Policy("all", deadline=0.5, rate=rate, bulkhead=Bulkhead(1, 9))

    async def work(number: int) -> int:
        await asyncio.sleep(0.03)
        if number % 2:
            raise Trouble
        return number

    follower = asyncio.ensure_future(rate.follow())
    try:
        await together(*(policy.call(work, number) for number in range(4)), legal=LEGAL)
    finally:
        follower.cancel()
        await asyncio.wait([follower])
    assert rate.statistics().waiting == 0
    assert rate.statistics().granted == policy.statistics().attempts
    assert policy.statistics().in_flight == 0
