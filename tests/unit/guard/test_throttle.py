"""`Throttle`: a dependency gets what it can serve."""

from __future__ import annotations

import asyncio

import pytest

from backstay import timeout
from backstay.errors import DeadlineExceeded, OpenError
from backstay.guard import Throttle


async def fail() -> None:
    raise ConnectionError


async def fine() -> str:
    return "fine"


async def hang() -> None:
    await asyncio.sleep(1000)


async def storm(throttle: Throttle, calls: int) -> int:
    """Call a dead dependency; return how many calls reached it."""
    reached = 0
    for _ in range(calls):
        try:
            await throttle.call(fail)
        except ConnectionError:
            reached += 1
        except OpenError:
            pass
        await asyncio.sleep(0.001)
    return reached


async def test_a_dead_dependency_gets_a_trickle_and_comes_back() -> None:
    """Most calls are refused; when it answers again they pass."""
    throttle = Throttle("search", seed=1)
    assert await storm(throttle, 1000) < 200
    with pytest.raises(OpenError, match=r"9\d% of the calls are refused") as caught:
        for _ in range(50):
            await throttle.call(fine)
    assert caught.value.retry_after == 1.0
    await asyncio.sleep(11)
    for _ in range(100):
        assert await throttle.call(fine) == "fine"
    assert repr(throttle) == "<Throttle 'search' refuses 0%>"


async def test_callers_that_leave_are_not_held_against_it() -> None:
    """Cancelled calls are as if they had not been made."""
    throttle = Throttle(seed=1)
    for _ in range(200):
        task = asyncio.ensure_future(throttle.call(hang))
        await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task])
    seen = throttle.statistics()
    assert (seen.requests, seen.accepts, seen.rejected, seen.probability) == (0, 0, 0, 0.0)


async def test_a_dependency_that_hangs_is_throttled_while_it_hangs() -> None:
    """Calls in flight count as not answered."""
    throttle = Throttle(seed=1, minimum=10)
    tasks = [asyncio.ensure_future(throttle.call(hang)) for _ in range(300)]
    await asyncio.sleep(0.1)
    refused = sum(task.done() for task in tasks)
    assert refused > 100
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_cut_after_the_usual_time_counts() -> None:
    """Before any success the slow limit decides, if somebody gave one."""
    throttle = Throttle()
    throttle.slow_from(0.1)
    throttle.slow_from(99.0)
    with pytest.raises(DeadlineExceeded):
        async with timeout(0.2):
            await throttle.call(hang)
    assert throttle.statistics().requests == 1
    assert throttle.usual() is None


async def test_as_a_block_and_a_decorator() -> None:
    """Both count as a call."""
    throttle = Throttle()

    @throttle
    async def find(text: str) -> str:
        return text

    assert await find("x") == "x"
    async with throttle.permit():
        pass
    ticket = throttle.admit(0.0)
    throttle.release(ticket)
    assert throttle.statistics().accepts == 2


async def test_update_checks_before_it_changes() -> None:
    """Nothing is half changed."""
    throttle = Throttle(k=2.0)
    with pytest.raises(ValueError, match="highest probability"):
        throttle.update(k=3.0, most=1.0)
    assert throttle._rule.k == 2.0
    throttle.update(k=3.0, minimum=5, mode="shadow")
    assert (throttle._rule.k, throttle._rule.minimum, throttle.mode) == (3.0, 5, "shadow")
    assert await storm(throttle, 100) == 100
    assert throttle.rejected > 10
