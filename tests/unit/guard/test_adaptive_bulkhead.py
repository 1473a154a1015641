"""AdaptiveBulkhead: what each way to end teaches the rule, and how the limit follows it."""

from __future__ import annotations

import asyncio

import pytest

from backstay import timeout
from backstay.errors import DeadlineExceeded, FullError, GuardMisuse
from backstay.guard._adaptive_bulkhead import AdaptiveBulkhead, LimitRule
from backstay.guard.rules.aimd_limit import AimdLimit
from backstay.guard.rules.gradient_limit import GradientLimit
from backstay.guard.rules.vegas_limit import VegasLimit
from backstay.sync import Semaphore


def learned(bulkhead: AdaptiveBulkhead) -> tuple[int, int, int]:
    statistics = bulkhead.statistics()
    return statistics.sampled, statistics.dropped, statistics.ignored


async def nap(seconds: float, error: Exception | None = None) -> None:
    await asyncio.sleep(seconds)
    if error is not None:
        raise error


async def test_what_comes_back_raises_the_limit_as_far_as_it_is_used() -> None:
    """Each call that returns and had company adds one."""
    bulkhead = AdaptiveBulkhead(AimdLimit(initial=4), queue=100, target=None)
    call = bulkhead(nap)
    await asyncio.gather(*(call(0.1) for _ in range(4)))
    assert bulkhead.n == 6  # two of them began when half of it was in use
    assert learned(bulkhead) == (4, 0, 0)
    assert bulkhead.statistics().usual_s == pytest.approx(0.1)
    assert bulkhead.in_flight == 0


async def test_an_error_that_does_not_count_is_an_answer() -> None:
    """The dependency has answered, so how long it took counts."""
    bulkhead = AdaptiveBulkhead(AimdLimit(initial=2), on=(TimeoutError, ConnectionError))
    with pytest.raises(KeyError):
        await bulkhead.call(nap, 0.1, KeyError())
    with pytest.raises(ConnectionError):
        await bulkhead.call(nap, 0.1, ConnectionError())
    assert learned(bulkhead) == (1, 1, 0)


async def test_a_timeout_of_the_call_lowers_the_limit() -> None:
    """It is what an overloaded dependency looks like."""
    bulkhead = AdaptiveBulkhead(AimdLimit(initial=20))

    async def attempt() -> None:
        async with timeout(0.5):
            await asyncio.sleep(9)

    with pytest.raises(DeadlineExceeded):
        await bulkhead.call(attempt)
    assert bulkhead.n == 18
    assert learned(bulkhead) == (0, 1, 0)


async def test_a_deadline_around_counts_if_the_call_had_its_usual_time() -> None:
    """Otherwise it was the caller who had none left."""
    bulkhead = AdaptiveBulkhead(AimdLimit(initial=20))
    await bulkhead.call(nap, 0.2)
    for seconds in (0.1, 0.3):
        with pytest.raises(DeadlineExceeded):
            async with timeout(seconds):
                await bulkhead.call(nap, 9.0)
    assert learned(bulkhead) == (1, 1, 1)


async def test_a_caller_that_goes_away_teaches_nothing() -> None:
    """Nor does a guard further down that refuses."""
    bulkhead = AdaptiveBulkhead(AimdLimit(initial=20))
    task = asyncio.create_task(bulkhead.call(nap, 9.0))
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait([task])
    with pytest.raises(FullError):
        await bulkhead.call(nap, 0.1, FullError("no", policy="inner"))
    assert learned(bulkhead) == (0, 0, 2)
    assert (bulkhead.n, bulkhead.in_flight) == (20, 0)


async def test_a_permit_teaches_and_a_bare_block_does_not() -> None:
    """The block of the bulkhead itself has no clock."""
    bulkhead = AdaptiveBulkhead()
    async with bulkhead.permit():
        assert bulkhead.in_flight == 1
        await asyncio.sleep(0.1)
    async with bulkhead:
        pass
    with pytest.raises(TimeoutError):
        async with bulkhead.permit():
            raise TimeoutError
    assert learned(bulkhead) == (1, 1, 0)
    assert bulkhead.in_flight == 0


async def test_a_lower_limit_holds_for_those_in_line() -> None:
    """The place of a dropped call is not given on while more are in than may be."""
    bulkhead = AdaptiveBulkhead(AimdLimit(initial=2), target=None)
    calls = [
        asyncio.create_task(bulkhead.call(nap, 0.1, TimeoutError())),
        asyncio.create_task(bulkhead.call(nap, 0.2)),
        asyncio.create_task(bulkhead.call(nap, 0.1)),
    ]
    await asyncio.sleep(0.15)
    assert (bulkhead.n, bulkhead.in_flight, bulkhead.queued) == (1, 1, 1)
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [TimeoutError, type(None), type(None)]


@pytest.mark.parametrize(
    "rule",
    [AimdLimit(initial=10), VegasLimit(initial=10), GradientLimit(40, 2)],
    ids=lambda rule: type(rule).__name__,
)
async def test_it_finds_what_a_dependency_can_take(rule: LimitRule) -> None:
    """Thirty at once in 50 ms each, asked for 1.7 times that: it does most of what it can, in time."""
    bulkhead = AdaptiveBulkhead(rule, queue=0)
    workers = Semaphore(30)
    good = 0

    async def serve() -> None:
        async with timeout(0.3), workers:
            await asyncio.sleep(0.05)

    async def ask() -> None:
        nonlocal good
        try:
            await bulkhead.call(serve)
        except (FullError, TimeoutError):
            return
        good += 1

    tasks: list[asyncio.Task[None]] = []
    limits: list[int] = []
    for _ in range(10_000):
        tasks.append(asyncio.create_task(ask()))
        await asyncio.sleep(0.001)
        limits.append(bulkhead.n)
    await asyncio.gather(*tasks)
    assert good > 0.85 * 600 * 10  # without a limit it is a fifteenth
    assert 25 <= sum(limits[5_000:]) / 5_000 <= 200
    assert bulkhead.in_flight == 0


async def test_its_places_are_not_set_by_hand() -> None:
    """The rest of the settings are."""
    bulkhead = AdaptiveBulkhead(name="search", queue=5)
    with pytest.raises(GuardMisuse, match="'search' finds its number of places by itself"):
        bulkhead.update(n=5)
    bulkhead.update(queue=7, mode="shadow")
    assert (bulkhead.statistics().queue, bulkhead.mode) == (7, "shadow")
    assert bulkhead.statistics().limit == 20
