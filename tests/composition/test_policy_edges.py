"""A policy in odd company: closed coroutines, the process's end, shared parts, one loop after another."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from backstay import now
from backstay.errors import DeadlineExceeded, OpenError, Rejected
from backstay.guard import Breaker, Budget, Bulkhead, Fallback, Hedge, Policy, Rate, Retry, Throttle
from backstay.testing import run_virtual


class Trouble(ConnectionError):
    """The dependency fails."""


def everything(**parts: Any) -> Policy:
    """Return a policy of all parts but a hedge."""
    made: dict[str, Any] = {
        "deadline": 1.0,
        "attempt": 0.4,
        "retry": Retry(3, on=Trouble, first=0.01, seed=1),
        "breaker": Breaker(on=Trouble, minimum=10_000, seed=1),
        "throttle": Throttle(minimum=10_000, seed=1),
        "rate": Rate(1000, burst=10),
        "bulkhead": Bulkhead(1, queue=3),
    }
    return Policy("p", **{**made, **parts})


def is_home(policy: Policy) -> bool:
    """Tell whether nobody is left in it."""
    for part in (policy, *policy.parts):
        seen: Any = part.statistics()
        for count in ("in_flight", "queued", "waiting", "probing"):
            if getattr(seen, count, 0) != 0:
                return False
    return True


@pytest.mark.parametrize("steps", range(4))
async def test_a_call_whose_coroutine_is_closed_gives_everything_back(steps: int) -> None:
    """As a framework does that drops a request: there is nobody left to be awaited."""
    policy = everything(deadline=None, attempt=None)
    first = asyncio.Event()

    async def work() -> None:
        await first.wait()

    async def hold() -> None:
        await asyncio.sleep(0.1)

    holder = asyncio.ensure_future(policy.call(hold)) if steps % 2 else None
    await asyncio.sleep(0)
    coroutine = policy.call(work)
    for _ in range(1 if steps else 0):
        coroutine.send(None)
    coroutine.close()
    if holder is not None:
        await holder
    assert is_home(policy)
    assert await policy.call(asyncio.sleep, 0) is None


@pytest.mark.parametrize(
    "end", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError]
)
@pytest.mark.parametrize("hedged", [False, True])
async def test_the_end_of_the_process_passes_through(
    end: type[BaseException], hedged: bool
) -> None:
    """It is neither retried nor answered by a fallback, and nothing is held afterwards."""
    if hedged and end in (KeyboardInterrupt, SystemExit):
        pytest.skip("a task that raises it ends the loop")
    policy = everything(fallback=Fallback(value="instead"), hedge=Hedge(0.01) if hedged else None)
    calls = 0

    async def work() -> str:
        nonlocal calls
        calls += 1
        raise end

    with pytest.raises(end):
        await policy.call(work)
    assert calls == 1
    assert is_home(policy)


async def test_parts_that_two_policies_share_are_one_account() -> None:
    """One place, one budget, one breaker, for reads and for writes."""
    budget, places = Budget(0.5, at_once=1), Bulkhead(1, queue=9)
    breaker = Breaker(on=Trouble, minimum=10_000, seed=1)
    policies = [
        everything(
            bulkhead=places,
            breaker=breaker,
            retry=Retry(3, on=Trouble, first=0.01, budget=budget, seed=1),
        )
        for _ in range(2)
    ]
    inside = 0

    async def work(number: int) -> int:
        nonlocal inside
        inside += 1
        assert inside == 1
        try:
            await asyncio.sleep(0.01)
            if number % 3 == 0:
                raise Trouble
            return number
        finally:
            inside -= 1

    calls = [policies[number % 2].call(work, number) for number in range(4)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert results[1:3] == [1, 2]
    assert all(isinstance(results[n], Trouble) for n in (0, 3))
    assert is_home(policies[0])
    assert is_home(policies[1])
    assert budget.rule.retrying == 0
    seen = [policy.statistics() for policy in policies]
    assert breaker.statistics().calls == sum(s.attempts for s in seen)


async def test_a_policy_within_a_policy_blames_nobody_twice() -> None:
    """The inner one's no is neutral to the outer breaker; its deadline is the earlier one."""
    inner = everything(deadline=0.05, retry=None, attempt=None)
    outer = Policy("outer", deadline=1.0, breaker=Breaker(on=Exception, minimum=10_000, seed=1))

    async def slow() -> None:
        await asyncio.sleep(0.2)

    async def nested() -> None:
        await inner.call(slow)

    results = await asyncio.gather(*(outer.call(nested) for _ in range(8)), return_exceptions=True)
    assert {type(result) for result in results} <= {DeadlineExceeded} | set(
        Rejected.__subclasses__()
    )
    late = [result for result in results if isinstance(result, DeadlineExceeded)]
    assert {error.scope for error in late} == {"p"}
    (breaker,) = outer.parts
    seen: Any = breaker.statistics()
    assert seen.failed == len(late), "a rejection by a guard further down says nothing"
    assert is_home(inner)
    assert is_home(outer)


async def test_a_probe_that_waits_for_a_place_and_leaves_is_lent_again() -> None:
    """Cancelled in the line of the bulkhead, the caller had been let through as the only probe."""
    breaker = Breaker(on=Trouble, minimum=1, open_for=1.0, seed=1)
    places = Bulkhead(1, queue=9, target=None)
    policy = Policy("p", breaker=breaker, bulkhead=places)

    async def fail() -> None:
        raise Trouble

    with pytest.raises(Trouble):
        await policy.call(fail)
    with pytest.raises(OpenError):
        await policy.call(fail)
    await asyncio.sleep(2)
    assert places.take()
    for _ in range(3):
        probe = asyncio.ensure_future(policy.call(asyncio.sleep, 0))
        await asyncio.sleep(0.1)
        assert breaker.statistics().probing == 0  # what waits at our own guards is no probe yet
        probe.cancel()
        await asyncio.wait([probe])
        assert breaker.statistics().probing == 0
    places.release()
    await policy.call(asyncio.sleep, 0)
    assert breaker.statistics().state == "closed"


async def test_settings_that_change_amid_calls_lose_nothing() -> None:
    """Of the policy and of each of its parts, at any time."""
    places, rate = Bulkhead(2, queue=9), Rate(200, burst=2)
    policy = everything(bulkhead=places, rate=rate)
    assert policy.parts

    async def work(number: int) -> int:
        await asyncio.sleep(0.02)
        if number % 4 == 0:
            raise Trouble
        return number

    async def change() -> None:
        for round_ in range(12):
            places.update(n=1 + round_ % 3)
            rate.update(rate=100 + 50 * (round_ % 3))
            policy.update(attempt=0.1 + round_ / 100, deadline=1.0 + round_)
            if round_ == 4:
                policy.update(max_callers=30)
            await asyncio.sleep(0.015)

    calls = [policy.call(work, number) for number in range(12)]
    results = (await asyncio.gather(change(), *calls, return_exceptions=True))[1:]
    assert all(r == n for n, r in enumerate(results) if isinstance(r, int))
    assert is_home(policy)


@pytest.mark.parametrize("hedged", [False, True])
def test_a_policy_outlives_a_loop_that_was_left_in_the_middle(hedged: bool) -> None:
    """A test, or a worker that runs one loop after another: what was under way there is over."""
    policy = everything(hedge=Hedge(0.1) if hedged else None, bulkhead=Bulkhead(2, queue=9))
    ended: list[float] = []

    async def leave() -> None:
        for _ in range(3):
            asyncio.ensure_future(policy.call(asyncio.sleep, 0.3))
        await asyncio.sleep(0.05)

    async def call() -> None:
        await policy.call(asyncio.sleep, 0.01)
        ended.append(now())

    for _ in range(2):
        run_virtual(leave)
        assert is_home(policy)
        run_virtual(call)
    assert len(ended) == 2
    assert is_home(policy)
