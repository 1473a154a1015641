"""`Retry` and `Budget`: what may pass is tried again, within bounds."""

from __future__ import annotations

import asyncio
import gc
import inspect
import weakref

import pytest

from backstay import now, timeout
from backstay.errors import DeadlineExceeded, ExpiredError, FullError, OpenError
from backstay.guard import Budget, Retry


class Flaky:
    """Fails so many times, then answers."""

    def __init__(self, failures: int, error: BaseException | None = None) -> None:
        self.failures = failures
        self.error = error or ConnectionError("refused")
        self.times: list[float] = []

    async def __call__(self) -> str:
        self.times.append(now())
        if len(self.times) <= self.failures:
            raise self.error
        return "fine"


async def test_what_fails_in_passing_succeeds_the_next_time() -> None:
    """With a random pause before each attempt, below a bound that doubles."""
    retry = Retry(3, first=0.1, seed=1)
    flaky = Flaky(2)
    assert await retry.call(flaky) == "fine"
    pauses = [b - a for a, b in zip(flaky.times, flaky.times[1:], strict=False)]
    assert len(pauses) == 2
    assert 0 <= pauses[0] < 0.1
    assert 0 <= pauses[1] < 0.2
    seen = retry.statistics()
    assert (seen.calls, seen.retries, seen.recovered, seen.exhausted) == (1, 2, 1, 0)
    assert retry.budget.statistics().retrying == 0


async def test_the_last_error_tells_of_those_before() -> None:
    """At three in the morning each attempt can be read."""
    retry = Retry(3, name="fetch")
    with pytest.raises(ConnectionError) as caught:
        await retry.call(Flaky(9))
    assert caught.value.__notes__ == [
        "retry 'fetch': attempt 3, before that: "
        "1. ConnectionError: refused; 2. ConnectionError: refused"
    ]
    assert retry.statistics().exhausted == 1
    assert retry.budget.statistics().retrying == 0


async def test_what_would_fail_again_is_not_tried_again() -> None:
    """A bug, a bad argument, an answer that is an error."""
    retry = Retry(3)
    flaky = Flaky(1, KeyError("no such order"))
    with pytest.raises(KeyError):
        await retry.call(flaky)
    assert len(flaky.times) == 1
    retry = Retry(3, on=lambda error: "order" in str(error))
    assert await retry.call(Flaky(1, KeyError("order"))) == "fine"


async def test_never_past_the_deadline() -> None:
    """A pause that would end after it is not begun; the error is the dependency's."""
    retry = Retry(3, first=5.0, most=5.0, seed=3)
    with pytest.raises(ConnectionError):
        async with timeout(0.5):
            await retry.call(Flaky(9))
    assert now() < 0.5
    assert retry.statistics().too_late == 1


async def test_time_that_ran_out_further_down_is_tried_again_and_ours_is_not() -> None:
    """Two deadlines, two meanings."""
    retry = Retry(3)
    attempts = 0

    async def slow_at_first() -> str:
        nonlocal attempts
        attempts += 1
        async with timeout(0.1):
            await asyncio.sleep(1 if attempts == 1 else 0)
        return "fine"

    assert await retry.call(slow_at_first) == "fine"

    async def hang() -> None:
        nonlocal attempts
        attempts += 1
        await asyncio.sleep(100)

    attempts = 0
    with pytest.raises(DeadlineExceeded):
        async with timeout(0.5):
            await retry.call(hang)
    assert attempts == 1


async def test_a_no_is_tried_again_when_it_says_when() -> None:
    """And not before; a no without a time, or one that comes too late, is final."""
    retry = Retry(3, seed=1)
    flaky = Flaky(1, OpenError("open", policy="x", retry_after=0.7))
    assert await retry.call(flaky) == "fine"
    assert 0.7 <= now() < 0.8
    for error in (
        FullError("full", policy="x"),
        ExpiredError("expired", policy="x", retry_after=0.1),
        OpenError("open", policy="x", retry_after=60.0),
    ):
        flaky = Flaky(1, error)
        with pytest.raises(type(error)):
            await retry.call(flaky)
        assert len(flaky.times) == 1


async def test_a_call_that_must_not_be_made_twice_is_retried_only_after_a_no() -> None:
    """Nothing was done then."""
    retry = Retry(3, idempotent=False)
    with pytest.raises(ConnectionError):
        await retry.call(Flaky(1))
    assert await retry.call(Flaky(1, OpenError("open", policy="x", retry_after=0.1))) == "fine"


async def test_a_shared_budget_bounds_all_who_share_it() -> None:
    """Against a dead dependency calls are made about once."""
    budget = Budget(0.1, per_second=0.0, name="bank")
    charge, refund = Retry(3, budget=budget), Retry(3, budget=budget)
    made = 0

    async def dead() -> None:
        nonlocal made
        made += 1
        raise ConnectionError

    for number in range(500):
        with pytest.raises(ConnectionError):
            await (charge if number % 2 else refund).call(dead)
    assert 500 < made <= 551
    seen = budget.statistics()
    assert (seen.calls, seen.spent, seen.retrying) == (500, made - 500, 0)
    assert seen.refused == budget.rejected > 400
    assert repr(budget).startswith("<Budget 'bank' left=")


async def test_a_cancel_ends_an_attempt_and_a_pause_at_once() -> None:
    """Nothing stays in the budget."""
    retry = Retry(3, first=100.0, most=100.0, seed=1)
    task = asyncio.ensure_future(retry.call(Flaky(9)))
    await asyncio.sleep(0.01)
    assert retry.budget.statistics().retrying == 1
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert retry.budget.statistics().retrying == 0


async def test_as_a_decorator_the_function_stays_what_it_is() -> None:
    """For people and for frameworks."""
    retry = Retry(2, name="fetch")
    failures = 1

    @retry
    async def page(url: str) -> str:
        """Fetch a page."""
        nonlocal failures
        if failures:
            failures -= 1
            raise TimeoutError
        return url

    assert inspect.iscoroutinefunction(page)
    assert (page.__name__, page.__doc__) == ("page", "Fetch a page.")
    assert await page("u") == "u"
    assert repr(retry) == "<Retry 'fetch' attempts=2>"
    with pytest.raises(TypeError, match="async function"):
        retry(len)  # type: ignore[arg-type]


async def test_in_shadow_mode_it_counts_and_does_not_try_again() -> None:
    """To see what it would do."""
    retry = Retry(3, mode="shadow")
    with pytest.raises(ConnectionError):
        await retry.call(Flaky(1))
    assert retry.rejected == 1
    assert retry.budget.statistics().retrying == 0


class Refused(ConnectionError):
    """Can be referred to weakly."""


async def test_a_failed_call_leaves_no_cycle_behind() -> None:
    """The error's traceback does not hold the frame that holds the error."""
    retry = Retry(2)

    async def refused() -> None:
        error = Refused()
        seen.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error

    seen: list[weakref.ref[Refused]] = []
    gc.collect()
    gc.disable()
    try:
        try:
            await retry.call(refused)
        except Refused:
            pass
        assert [ref() for ref in seen] == [None, None]
    finally:
        gc.enable()


def test_nonsense_is_refused_and_updates_are_checked() -> None:
    """Before anything has changed."""
    with pytest.raises(ValueError, match="at least once"):
        Retry(0)
    retry = Retry(3)
    with pytest.raises(ValueError, match="first <= most"):
        retry.update(attempts=5, first=9.0)
    with pytest.raises(ValueError, match="at least once"):
        retry.update(attempts=0)
    assert retry._attempts == 3
    retry.update(attempts=5, first=0.2, most=2.0)
    assert (retry._attempts, retry._backoff.first, retry._backoff.most) == (5, 0.2, 2.0)
