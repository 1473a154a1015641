"""`Breaker`: the cases in which most breakers are wrong, and how it is looked after."""

from __future__ import annotations

import asyncio

import pytest

from backstay import Scope, now, timeout
from backstay._base import GuardMoved, guard_moved
from backstay.errors import DeadlineExceeded, OpenError
from backstay.guard import Breaker

FIVE = {"minimum": 5, "open_for": 1.0}


async def fail() -> None:
    raise ConnectionError("refused")


async def fine() -> str:
    return "fine"


async def hang() -> None:
    await asyncio.sleep(1000)


async def trip(breaker: Breaker, calls: int = 5) -> None:
    for _ in range(calls):
        with pytest.raises(ConnectionError):
            await breaker.call(fail)


async def test_it_opens_on_failures_and_says_when_to_come_back() -> None:
    """Callers learn at once, and from whom."""
    breaker = Breaker("bank", **FIVE)
    await trip(breaker)
    assert breaker.state == "open"
    with pytest.raises(
        OpenError, match=r"breaker 'bank' is open: .* a probe may pass in"
    ) as caught:
        await breaker.call(fine)
    assert caught.value.policy == "bank"
    assert caught.value.retry_after == pytest.approx(1.0, abs=0.11)
    assert breaker.rejected == 1


async def test_it_opens_on_a_dependency_that_hangs_whoever_cuts_the_calls() -> None:
    """asyncio's timeout, ours, a caller that leaves: the calls were slow by then."""
    for cut in (asyncio.timeout, timeout):
        breaker = Breaker(slow=0.5, **FIVE)
        for _ in range(5):
            with pytest.raises(TimeoutError):
                async with cut(1.0):
                    await breaker.call(hang)
        assert breaker.state == "open", cut


async def test_hangs_are_noticed_while_they_hang() -> None:
    """Nobody has given up yet, and the sixth caller is told."""
    breaker = Breaker(slow=0.5, **FIVE)
    async with Scope("callers", on_exit="cancel") as scope:
        for _ in range(5):
            scope.go(breaker.call, hang)
        await asyncio.sleep(0.6)
        with pytest.raises(OpenError):
            await breaker.call(fine)


async def test_a_caller_that_leaves_neither_trips_nor_mends() -> None:
    """Cancelled calls are no failures, and they do not reset what was counted."""
    breaker = Breaker(**FIVE)
    for _ in range(50):
        task = asyncio.ensure_future(breaker.call(hang))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
    assert breaker.state == "closed"
    await trip(breaker, 3)
    task = asyncio.ensure_future(breaker.call(hang))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await trip(breaker, 2)
    assert breaker.state == "open"


async def test_a_deadline_blames_only_after_the_usual_time() -> None:
    """A caller with no time left says nothing about the dependency."""
    breaker = Breaker(**FIVE)

    async def usual() -> None:
        await asyncio.sleep(0.2)

    for _ in range(20):
        await breaker.call(usual)
    assert breaker.usual() == pytest.approx(0.2)
    for _ in range(30):
        with pytest.raises(DeadlineExceeded):
            async with timeout(0.01):
                await breaker.call(hang)
    assert breaker.state == "closed"
    assert breaker.statistics().failed == 0
    for _ in range(25):
        with pytest.raises(DeadlineExceeded):
            async with timeout(0.3):
                await breaker.call(hang)
        if breaker.state == "open":
            break
    assert breaker.state == "open"


async def test_of_a_hundred_callers_one_is_the_probe() -> None:
    """Half-open is no flood gate."""
    breaker = Breaker(**FIVE)
    await trip(breaker)
    await asyncio.sleep(1.2)
    inside = 0

    async def probe() -> None:
        nonlocal inside
        inside += 1
        await asyncio.sleep(0.1)

    results = await asyncio.gather(
        *(breaker.call(probe) for _ in range(100)), return_exceptions=True
    )
    assert inside == 1
    assert sum(isinstance(result, OpenError) for result in results) == 99
    assert breaker.state == "closed"


async def test_a_cancelled_probe_frees_its_place() -> None:
    """It does not stay stuck, and the next caller is the probe."""
    breaker = Breaker(**FIVE)
    await trip(breaker)
    await asyncio.sleep(1.2)
    probe = asyncio.ensure_future(breaker.call(hang))
    await asyncio.sleep(0.01)
    assert breaker.statistics().probing == 1
    with pytest.raises(OpenError, match="half-open, and 1 of 1 probes are under way"):
        await breaker.call(fine)
    probe.cancel()
    await asyncio.wait([probe])
    assert await breaker.call(fine) == "fine"
    assert breaker.state == "closed"


async def test_a_late_success_does_not_close_it() -> None:
    """It began before the trip."""
    breaker = Breaker(**FIVE)

    async def late() -> None:
        await asyncio.sleep(0.5)

    task = asyncio.ensure_future(breaker.call(late))
    await asyncio.sleep(0)
    await trip(breaker)
    await task
    assert breaker.state == "open"


async def test_only_what_counts_counts() -> None:
    """A 404 is an answer."""
    breaker = Breaker(on=ConnectionError, **FIVE)

    async def not_found() -> None:
        raise KeyError("404")

    for _ in range(20):
        with pytest.raises(KeyError):
            await breaker.call(not_found)
    assert breaker.state == "closed"
    await trip(breaker, 20)
    assert breaker.state == "open"


async def test_each_change_of_state_is_told() -> None:
    """With what it was, what it is, and why."""
    heard: list[GuardMoved] = []
    stop = guard_moved.subscribe(heard.append)
    try:
        breaker = Breaker("bank", **FIVE)
        await trip(breaker)
        await asyncio.sleep(1.2)
        await breaker.call(fine)
        breaker.force_open("maintenance")
        with pytest.raises(OpenError, match="opened by hand"):
            await breaker.call(fine)
        breaker.force_close("a drill")
        breaker.reset()
        breaker.update(failure_rate=0.9)
    finally:
        stop()
    assert [(e.before, e.after, e.why) for e in heard] == [
        ("closed", "open", "a call was fail"),
        ("open", "half_open", "a probe may pass"),
        ("half_open", "closed", "its probes succeeded"),
        ("closed", "forced_open", "maintenance"),
        ("forced_open", "forced_closed", "a drill"),
        ("forced_closed", "closed", "by hand"),
        ("closed", "closed", "failure_rate=0.9"),
    ]


async def test_in_shadow_mode_every_call_is_made() -> None:
    """It opens and counts, for people to look at."""
    breaker = Breaker(mode="shadow", **FIVE)
    await trip(breaker, 8)
    assert breaker.state == "open"
    assert await breaker.call(fine) == "fine"
    assert breaker.rejected == 4


async def test_as_a_block_and_a_decorator() -> None:
    """How the block ends is what is learned."""
    breaker = Breaker("bank", **FIVE)

    @breaker
    async def charge(amount: int) -> int:
        return amount

    assert await charge(3) == 3
    async with breaker.permit():
        await asyncio.sleep(0.1)
    for _ in range(3):
        with pytest.raises(ConnectionError):
            async with breaker.permit():
                await fail()
    seen = breaker.statistics()
    assert (seen.state, seen.transitions) == ("open", 1)
    with pytest.raises(OpenError):
        async with breaker.permit():
            raise AssertionError
    assert repr(breaker) == "<Breaker 'bank' open>"


def test_the_window_cannot_be_changed() -> None:
    """What was counted in it would be lost unsaid."""
    breaker = Breaker()
    with pytest.raises(TypeError, match="make another breaker"):
        breaker.update(window=3)
    with pytest.raises(TypeError):
        breaker.update(colour="red")
    with pytest.raises(ValueError, match="probes"):
        breaker.update(probes=0)
    breaker.slow_from(0.4)
    breaker.slow_from(0.9)
    assert breaker._rule.settings.slow == 0.4
    assert now() > 0
