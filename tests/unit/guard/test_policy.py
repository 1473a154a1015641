"""`Policy`: all guards around one dependency, in the one right order."""

from __future__ import annotations

import asyncio
import gc
import inspect
from typing import Any

import pytest

from backstay import now, remaining, timeout
from backstay.errors import (
    DeadlineExceeded,
    FullError,
    GuardMisuse,
    LimitError,
    OpenError,
    Rejected,
)
from backstay.guard import (
    AdaptiveBulkhead,
    Breaker,
    Budget,
    Bulkhead,
    Fallback,
    Hedge,
    LastGood,
    Policy,
    Rate,
    Retry,
    Throttle,
    find,
    guards,
)
from backstay.guard.rules import AimdLimit


async def fine(value: Any = "fine") -> Any:
    return value


async def fail() -> None:
    raise ConnectionError("refused")


async def hang() -> None:
    await asyncio.sleep(1000)


def full(**parts: Any) -> Policy:
    """A policy with everything in it that a call passes through."""
    return Policy(
        "bank",
        **{
            "deadline": 2.0,
            "retry": Retry(3, seed=1),
            "throttle": Throttle(seed=1),
            "breaker": Breaker(minimum=5, open_for=1.0, seed=1),
            "rate": Rate(1000, 100),
            "bulkhead": Bulkhead(4),
            **parts,
        },
    )


def nothing_held(policy: Policy) -> bool:
    """Whether everything that calls had taken is given back."""
    inner = policy._single or policy
    return (
        policy.statistics().in_flight == 0
        and (inner._guards.bulkhead is None or inner._guards.bulkhead.in_flight == 0)
        and (inner._guards.throttle is None or inner._guards.throttle._rule.in_flight == 0)
        and (inner._guards.breaker is None or inner._guards.breaker.statistics().probing == 0)
        and (policy._retry is None or policy._retry.budget.rule.retrying == 0)
    )


async def test_a_call_goes_through_all_guards_and_leaves_nothing_behind() -> None:
    """It sees the deadline, and each guard has counted it."""
    policy = full()

    @policy
    async def charge(amount: int, *, currency: str) -> tuple[int, str, float | None]:
        """Charge it."""
        return amount, currency, remaining()

    assert await charge(3, currency="EUR") == (3, "EUR", 2.0)
    assert inspect.iscoroutinefunction(charge)
    assert charge.__doc__ == "Charge it."
    assert remaining() is None
    seen = policy.statistics()
    assert (seen.ok, seen.attempts, seen.failed, seen.duration.count) == (1, 1, 0, 0)
    assert [part.kind for part in policy.parts] == [
        "retry",
        "throttle",
        "breaker",
        "rate",
        "bulkhead",
    ]
    assert all(part.statistics() for part in policy.parts)
    assert nothing_held(policy)
    assert policy._guards.rate is not None
    assert policy._guards.rate.statistics().granted == 1


async def test_without_guards_it_is_just_a_call() -> None:
    """Errors and results pass as they are."""
    policy = Policy("nothing")
    assert await policy.call(fine, 3) == 3
    with pytest.raises(ConnectionError):
        await policy.call(fail)
    assert repr(policy) == "<Policy 'nothing' without guards>"


async def test_attempts_are_judged_one_by_one() -> None:
    """A retry that recovers has shown the breaker its failures."""
    breaker = Breaker(minimum=100)
    policy = full(breaker=breaker)
    tries = 0

    async def flaky() -> str:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise ConnectionError
        return "fine"

    assert await policy.call(flaky) == "fine"
    seen = breaker.statistics()
    assert (seen.calls, seen.failed) == (3, 2)
    assert (policy.statistics().ok, policy.statistics().attempts) == (1, 3)
    assert policy._retry is not None
    assert policy._retry.statistics().recovered == 1
    assert nothing_held(policy)


async def test_the_last_error_tells_of_earlier_attempts() -> None:
    """As with a retry alone."""
    policy = full()
    with pytest.raises(ConnectionError) as caught:
        await policy.call(fail)
    assert "attempt 3, before that: 1. ConnectionError" in caught.value.__notes__[0]
    assert policy.statistics().failed == 1
    assert nothing_held(policy)


async def test_a_refused_call_burns_nothing_behind_the_guard_that_refused() -> None:
    """Breaker open: no permit of the rate is spent. Bulkhead full: permit and probe come back."""
    policy = full(retry=None)
    policy.force_open()
    with pytest.raises(OpenError):
        await policy.call(fine)
    assert policy._guards.rate is not None
    assert policy._guards.rate.statistics().granted == 0
    policy.reset()
    full_house = Bulkhead(1, 0)
    breaker = Breaker(minimum=1, open_for=0.1)
    policy = full(retry=None, bulkhead=full_house, breaker=breaker)
    with pytest.raises(ConnectionError):
        await policy.call(fail)
    await asyncio.sleep(0.2)
    await full_house.acquire()
    with pytest.raises(FullError):
        await policy.call(fine)
    assert breaker.statistics().probing == 0
    assert policy._guards.rate is not None
    assert policy._guards.rate.statistics().granted == 1
    full_house.release()
    assert await policy.call(fine) == "fine"
    assert breaker.state == "closed"
    assert policy.statistics().rejected == {"full": 1}
    assert nothing_held(policy)


async def test_the_deadline_holds_for_waits_attempts_and_pauses() -> None:
    """And it is this policy that is named."""
    policy = Policy("bank", deadline=0.5, retry=Retry(10, first=0.2, most=0.2, seed=2))
    with pytest.raises((ConnectionError, DeadlineExceeded)):
        await policy.call(fail)
    assert now() <= 0.52
    began = now()
    with pytest.raises(DeadlineExceeded) as caught:
        await policy.call(hang)
    assert (caught.value.scope, caught.value.timeout) == ("bank", 0.5)
    assert now() - began == pytest.approx(0.5, abs=0.02)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_wait_that_cannot_end_before_the_deadline_is_not_begun() -> None:
    """The rate knows how long it would be."""
    policy = Policy("bank", deadline=0.5, rate=Rate(1, 1))
    await policy.call(fine)
    with pytest.raises(LimitError):
        await policy.call(fine)
    assert now() == 0.0


async def test_an_attempt_has_a_time_of_its_own_and_its_cut_is_a_failure() -> None:
    """It is tried again, and the breaker learns."""
    breaker = Breaker(minimum=100)
    policy = Policy("bank", deadline=5.0, attempt=0.2, retry=Retry(3, seed=1), breaker=breaker)
    tries = 0

    async def slow_at_first() -> str:
        nonlocal tries
        tries += 1
        await asyncio.sleep(10 if tries == 1 else 0.01)
        return "fine"

    assert await policy.call(slow_at_first) == "fine"
    seen = breaker.statistics()
    assert (seen.calls, seen.failed, seen.slow) == (2, 1, 1)
    assert breaker._rule.settings.slow == pytest.approx(0.16)
    with pytest.raises(DeadlineExceeded) as caught:
        await policy.call(hang)
    assert caught.value.scope == "bank attempt"


async def test_an_outer_deadline_is_shorter_and_blames_nobody() -> None:
    """Unless the call had its usual time."""
    breaker = Breaker(minimum=1)
    policy = Policy("bank", deadline=2.0, breaker=breaker)

    async def usual() -> None:
        await asyncio.sleep(0.3)

    for _ in range(20):
        await policy.call(usual)
    with pytest.raises(DeadlineExceeded) as caught:
        async with timeout(0.01, name="request"):
            await policy.call(hang)
    assert caught.value.scope == "request"
    assert breaker.state == "closed"
    with pytest.raises(DeadlineExceeded):
        async with timeout(0.5, name="request"):
            await policy.call(hang)
    assert breaker.statistics().failed == 1


async def test_a_caller_that_leaves_gives_everything_back_and_blames_nobody() -> None:
    """In the call, in the queue, in a pause."""
    breaker = Breaker(minimum=1)
    policy = full(bulkhead=Bulkhead(1), breaker=breaker)
    for how in (hang, fail):
        tasks = [asyncio.ensure_future(policy.call(how)) for _ in range(3)]
        await asyncio.sleep(0.001)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert nothing_held(policy)
        if how is hang:
            assert breaker.statistics().failed == 0
            assert policy.statistics().neutral == 3


async def test_callers_are_bounded_those_that_wait_included() -> None:
    """The fourth is told at once."""
    policy = Policy("bank", bulkhead=Bulkhead(1, 9), max_callers=3)
    tasks = [asyncio.ensure_future(policy.call(hang)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(FullError, match="has 3 callers already"):
        await policy.call(fine)
    policy.update(max_callers=4)
    fourth = asyncio.ensure_future(policy.call(hang))
    await asyncio.sleep(0)
    for task in [*tasks, fourth]:
        task.cancel()
    await asyncio.gather(*tasks, fourth, return_exceptions=True)
    assert nothing_held(policy)


async def test_a_fallback_answers_last() -> None:
    """After all attempts, outside of the deadline, and not for a caller that left."""
    policy = full(fallback=Fallback(value="none"))
    assert await policy.call(fail) == "none"
    assert await policy.call(hang) == "none"
    seen = policy.statistics()
    assert (seen.fell_back, seen.failed, seen.ok) == (2, 2, 0)
    task = asyncio.ensure_future(policy.call(hang))
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    last: LastGood[Any] = LastGood(max_age=60)
    policy = Policy("rates", fallback=last)
    answers = iter(["fresh"])

    async def rate() -> str:
        try:
            return next(answers)
        except StopIteration:
            raise ConnectionError from None

    assert [await policy.call(rate) for _ in range(3)] == ["fresh"] * 3
    assert policy.statistics().fell_back == 2


async def test_hedged_attempts_pass_the_guards_one_by_one() -> None:
    """Each takes a place and a permit; both give them back."""
    policy = full(hedge=Hedge(0.1), attempt=1.0)
    tries = 0

    async def slow_at_first() -> int:
        nonlocal tries
        tries += 1
        mine = tries
        await asyncio.sleep(0.9 if mine == 1 else 0.01)
        return mine

    assert await policy.call(slow_at_first) == 2
    inner = policy._single
    assert inner is not None
    assert inner._guards.rate is not None
    assert inner._guards.rate.statistics().granted == 2
    assert nothing_held(policy)
    assert policy.statistics().ok == 1
    assert [part.kind for part in policy.parts][:2] == ["retry", "hedge"]
    assert "hedge" in repr(policy)
    assert "attempt 1 s" in repr(policy)
    assert inner not in guards()
    gc.collect()
    assert find("bank", "policy") is policy


async def test_a_permit_holds_everything_for_a_block() -> None:
    """And learns from how the block ends."""
    breaker = Breaker(minimum=3)
    policy = full(breaker=breaker)
    async with policy.permit() as permit:
        assert permit.remaining() == 2.0
        assert policy._guards.bulkhead is not None
        assert policy._guards.bulkhead.in_flight == 1
        assert policy.statistics().in_flight == 1
    assert nothing_held(policy)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            async with policy.permit():
                await fail()
    assert breaker.state == "open"
    with pytest.raises(OpenError):
        async with policy.permit():
            raise AssertionError
    with pytest.raises(GuardMisuse, match="used once"):
        await permit.__aenter__()
    policy.reset()
    with pytest.raises(DeadlineExceeded):
        async with policy.permit():
            await hang()
    assert nothing_held(policy)
    seen = policy.statistics()
    assert (seen.ok, seen.failed, seen.rejected) == (1, 3, {"open": 1})


async def test_a_permit_that_is_refused_or_cancelled_holds_nothing() -> None:
    """At any of its steps."""
    policy = full(bulkhead=Bulkhead(1, 1), max_callers=9)
    async with policy.permit():
        waiting = asyncio.ensure_future(policy.permit().__aenter__())
        await asyncio.sleep(0)
        with pytest.raises(FullError):
            async with policy.permit():
                raise AssertionError
        waiting.cancel()
        await asyncio.wait([waiting])
    assert nothing_held(policy)
    assert policy._guards.rate is not None
    assert policy._guards.rate.statistics().granted == 1


async def test_settings_change_while_it_works() -> None:
    """Checked before anything is changed."""
    policy = full()
    policy.update(deadline=0.1, attempt=0.05, mode="shadow")
    with pytest.raises(DeadlineExceeded):
        await policy.call(hang)
    with pytest.raises(ValueError, match="attempt is above 0"):
        policy.update(deadline=5.0, attempt=-1.0)
    assert policy._deadline_s == 0.1
    with pytest.raises(ValueError, match="max_callers"):
        policy.update(max_callers=0)
    with pytest.raises(GuardMisuse, match="has no breaker"):
        Policy("x").force_open()
    for bad in ({"deadline": 0}, {"attempt": -1}, {"max_callers": 0}):
        with pytest.raises(ValueError, match="not"):
            Policy("x", **bad)  # type: ignore[arg-type]


async def test_a_downstream_rejection_is_neutral() -> None:
    """A guard of ours further down that says no has not asked the dependency."""
    breaker = Breaker(minimum=1)
    policy = Policy("outer", breaker=breaker, retry=Retry(2, budget=Budget(1.0)))

    async def refused() -> None:
        raise FullError("full", policy="inner")

    with pytest.raises(Rejected):
        await policy.call(refused)
    assert breaker.statistics().calls == 0


def test_one_loop_after_another() -> None:
    """A policy made at import time serves each run, in the same thread."""
    policy = full()
    for _ in range(2):
        assert asyncio.run(policy.call(fine)) == "fine"


async def test_an_adaptive_bulkhead_learns_from_the_attempts() -> None:
    """What came back is a sample, what took too long a drop, who went away says nothing."""
    places = AdaptiveBulkhead(AimdLimit(initial=10))
    policy = Policy("dependency", attempt=0.5, bulkhead=places)

    async def work(seconds: float) -> None:
        await asyncio.sleep(seconds)

    await policy.call(work, 0.1)
    with pytest.raises(DeadlineExceeded):
        await policy.call(work, 5.0)
    leaver = asyncio.ensure_future(policy.call(work, 0.4))
    await asyncio.sleep(0.01)
    leaver.cancel()
    await asyncio.gather(leaver, return_exceptions=True)
    seen = places.statistics()
    assert (seen.sampled, seen.dropped, seen.ignored, seen.in_flight) == (1, 1, 1, 0)
    assert seen.limit < 10


@pytest.mark.parametrize("fails", [False, True])
async def test_a_rule_that_raises_keeps_nothing(fails: bool) -> None:
    """A limit of somebody else's may be broken; what the attempt held is given back first."""

    class Broken:
        limit = 3

        def sample(self, rtt: float, in_flight: int, dropped: bool, now: float) -> None:
            raise ZeroDivisionError

    places, throttle = AdaptiveBulkhead(Broken(), on=Exception), Throttle()
    policy = Policy("dependency", bulkhead=places, throttle=throttle, breaker=Breaker())

    async def work() -> None:
        if fails:
            raise ConnectionError

    with pytest.raises(ZeroDivisionError):
        await policy.call(work)
    assert places.in_flight == 0
    assert throttle._rule.in_flight == 0
    assert policy.statistics().in_flight == 0
