"""Guards under thousands of schedules, with cancellations at every await.

What must hold whatever strikes: nothing that was taken is lost or given back twice,
nobody waits beside what is free, and no more is let in than the guard says. Each
scenario builds its own world; `step` is an await that lets somebody else come in.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from courses import step, together

from backstay import now
from backstay.errors import DeadlineExceeded, Rejected
from backstay.guard import (
    Breaker,
    Budget,
    Bulkhead,
    Fallback,
    Hedge,
    Policy,
    Rate,
    Retry,
    Throttle,
)

FULL = 10_000
QUICK = 200


class Trouble(ConnectionError):
    """The dependency fails."""


LEGAL = (Rejected, Trouble, DeadlineExceeded)


# -- Rate --------------------------------------------------------------------------------


async def use_rate(rate: Rate, cost: float, taken: list[tuple[float, float]]) -> None:
    await rate.acquire(cost)
    taken.append((now(), cost))


def check_rate(rate: Rate, taken: list[tuple[float, float]]) -> None:
    """Hold that what was granted is what was taken, within the limit, and nobody is left."""
    seen = rate.statistics()
    assert seen.waiting == 0
    assert rate._timer is None, "a timer without a waiter"
    assert seen.granted == pytest.approx(sum(cost for _, cost in taken))
    for first, (begin, _) in enumerate(taken):
        for last in range(first, len(taken)):
            span = taken[last][0] - begin
            spent = sum(cost for _, cost in taken[first : last + 1])
            assert spent <= seen.burst + seen.rate * span + 1e-6


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_a_rate_grants_no_more_than_its_limit_and_forgets_nobody() -> None:
    """Five callers of different weight; who was not cancelled is served."""
    rate = Rate(10, 3)
    taken: list[tuple[float, float]] = []
    costs = (1, 3, 2, 1, 2)
    results = await together(*(use_rate(rate, cost, taken) for cost in costs), legal=LEGAL)
    served = [cost for cost, result in zip(costs, results, strict=True) if result is None]
    assert sorted(served) == sorted(cost for _, cost in taken)
    check_rate(rate, taken)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel="systematic")
async def test_a_cancelled_waiter_of_a_rate_leaves_its_units_to_those_behind() -> None:
    """Exactly what was taken counts as granted."""
    rate = Rate(10, 1)
    taken: list[tuple[float, float]] = []
    await together(*(use_rate(rate, 1, taken) for _ in range(4)), legal=LEGAL)
    assert rate.statistics().granted == len(taken)
    check_rate(rate, taken)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_a_rate_that_changes_and_takes_back_serves_whoever_waits() -> None:
    """Updates and permits that come back meet waiters in every order."""
    rate = Rate(1, 1)
    taken: list[tuple[float, float]] = []

    async def change() -> None:
        await step()
        rate.update(rate=100)
        await step()
        rate.update(burst=2)

    async def unused() -> None:
        if rate.try_acquire():
            await step()
            rate.give_back()

    await together(*(use_rate(rate, 1, taken) for _ in range(3)), change(), unused(), legal=LEGAL)
    assert rate.statistics().waiting == 0
    assert rate._timer is None


# -- Breaker and Throttle ------------------------------------------------------------------


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_a_breaker_never_has_more_probes_than_it_may_and_loses_none() -> None:
    """Open, then six callers at once, some cancelled, some failing."""
    breaker = Breaker(minimum=1, open_for=0.1, probes=2, lease=1000.0)
    with pytest.raises(Trouble):
        await breaker.call(fail)
    await asyncio.sleep(0.2)
    inside = 0

    async def probe(good: bool) -> None:
        nonlocal inside
        if breaker.state == "half_open":
            inside += 1
            assert inside <= 2, "more probes than it may have"
        half_open = breaker.state == "half_open"
        try:
            await step()
            if not good:
                raise Trouble
            await step()
        finally:
            inside -= half_open

    await together(*(breaker.call(probe, number % 3 != 2) for number in range(6)), legal=LEGAL)
    assert breaker.statistics().probing == 0
    assert not breaker._rule._flying
    await asyncio.sleep(100)
    ticket = breaker.admit(now())  # whatever happened, it is not stuck
    breaker.release(ticket)


async def fail() -> None:
    raise Trouble


async def sometimes(number: int) -> int:
    await step()
    if number % 2:
        raise Trouble
    await step()
    return number


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel="systematic")
async def test_a_throttle_knows_what_is_in_flight() -> None:
    """Whatever ends a call, in flight are none afterwards, and no count is negative."""
    throttle = Throttle(minimum=2, seed=1)
    await together(*(throttle.call(sometimes, number) for number in range(5)), legal=LEGAL)
    assert throttle._rule.in_flight == 0
    assert min(throttle._rule.window.totals) >= 0


# -- Retry and Hedge -------------------------------------------------------------------------


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_a_budget_gets_back_every_retry() -> None:
    """However the calls end that had spent it."""
    budget = Budget(1.0, at_once=2)
    retry = Retry(3, on=Trouble, first=0.01, budget=budget, seed=1)
    results = await together(*(retry.call(sometimes, number) for number in range(4)), legal=LEGAL)
    assert budget.rule.retrying == 0
    assert [r for r in results if isinstance(r, int)] == [
        n for n, r in enumerate(results) if r == n and n % 2 == 0
    ]


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_a_hedge_leaves_no_attempt_behind() -> None:
    """One result, and no attempt runs when the call has ended."""
    budget = Budget(1.0, at_once=9)
    hedge = Hedge(0.01, budget=budget)
    running = [0, 0, 0]

    async def attempt(number: int) -> int:
        running[number] += 1
        try:
            await asyncio.sleep(0.02 if number else 0.01)
            await step()
            return number
        finally:
            try:
                await step()  # clean-up takes its time, and may be cancelled itself
            finally:
                running[number] -= 1

    async def call(number: int) -> int:
        try:
            return await hedge.call(attempt, number)
        finally:
            assert running[number] == 0, "an attempt runs on"

    results = await together(*(call(number) for number in range(3)), legal=LEGAL)
    assert budget.rule.retrying == 0
    assert all(r == n for n, r in enumerate(results) if isinstance(r, int))


# -- Policy ------------------------------------------------------------------------------------


def everything(**parts: Any) -> Policy:
    return Policy(
        "all",
        **{
            "deadline": 0.5,
            "retry": Retry(2, on=Trouble, first=0.01, seed=1),
            "throttle": Throttle(seed=1),
            "breaker": Breaker(minimum=3, open_for=0.05, seed=1),
            "rate": Rate(100, 2),
            "bulkhead": Bulkhead(1, 9),
            **parts,
        },
    )


class Begun:
    """Counts the calls that have really begun: a task may be cancelled before its first step."""

    def __init__(self) -> None:
        self.count = 0

    async def call(self, policy: Policy, number: int, work: Any = sometimes) -> Any:
        self.count += 1
        return await policy.call(work, number)


def check_policy(policy: Policy, begun: Begun) -> None:
    """Hold that nothing is held, and that each call was counted once."""
    inner = policy._single or policy
    assert policy.statistics().in_flight == 0
    assert inner._guards.bulkhead is not None
    assert inner._guards.bulkhead.in_flight == 0
    assert inner._guards.bulkhead.queued == 0
    assert inner._guards.throttle is not None
    assert inner._guards.throttle._rule.in_flight == 0
    assert inner._guards.breaker is not None
    assert inner._guards.breaker.statistics().probing == 0
    assert inner._guards.rate is not None
    assert inner._guards.rate.statistics().waiting == 0
    assert policy._retry is None or policy._retry.budget.rule.retrying == 0
    seen = policy.statistics()
    counted = seen.ok + seen.failed + seen.neutral + sum(seen.rejected.values())
    assert counted == begun.count, f"each call is counted once: {seen}"


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_a_policy_gives_everything_back_however_its_calls_end() -> None:
    """Four callers through all guards; one at a time is let in."""
    policy = everything()
    inside = 0

    async def work(number: int) -> int:
        nonlocal inside
        inside += 1
        assert inside == 1, "the bulkhead has one place"
        try:
            return await sometimes(number)
        finally:
            inside -= 1

    begun = Begun()
    results = await together(
        *(begun.call(policy, number, work) for number in range(4)), legal=LEGAL
    )
    assert all(r in (n, None) for n, r in enumerate(results) if isinstance(r, int))
    check_policy(policy, begun)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel="systematic")
async def test_a_policy_survives_a_cancel_at_each_of_its_awaits() -> None:
    """One caller is cancelled at each await in turn, the others are served."""
    policy = everything(breaker=Breaker(minimum=100))
    begun = Begun()
    await together(*(begun.call(policy, 2 * number) for number in range(4)), legal=LEGAL)
    check_policy(policy, begun)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_a_permit_gives_everything_back_however_its_block_ends() -> None:
    """The same guards around a block."""
    policy = everything(retry=None)

    begun = Begun()

    async def block(number: int) -> None:
        begun.count += 1
        async with policy.permit():
            await sometimes(number)

    await together(*(block(number) for number in range(4)), legal=LEGAL)
    check_policy(policy, begun)
    assert policy.statistics().attempts <= begun.count


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_a_hedged_policy_with_a_fallback_gives_everything_back() -> None:
    """Attempts in tasks of their own, and an answer in any case."""
    policy = everything(
        hedge=Hedge(0.005, budget=Budget(1.0, at_once=9)),
        fallback=Fallback(value=-1),
        bulkhead=Bulkhead(2, 9),
        attempt=0.2,
    )
    results = await together(*(policy.call(sometimes, number) for number in range(4)), legal=LEGAL)
    assert all(r in (n, -1) for n, r in enumerate(results) if isinstance(r, int))
    inner = policy._single
    assert inner is not None
    assert inner._guards.bulkhead is not None
    assert inner._guards.throttle is not None
    assert inner._guards.bulkhead.in_flight == inner._guards.bulkhead.queued == 0
    assert inner._guards.throttle._rule.in_flight == 0
    assert policy.statistics().in_flight == 0
