"""Our guards, and guards that are wrong on purpose, before the kits that ship to users."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from backstay.guard import AdaptiveRate, Breaker, Rate, ThroughputLimit
from backstay.testing import run_virtual
from backstay.testing.conformance import BreakerKit, GuardCase, LimiterKit


async def call(breaker: Any, work: Any) -> Any:
    return await breaker.call(work)


async def acquire(limiter: Any, cost: int) -> None:
    await limiter.acquire(cost)


OURS = BreakerKit(
    lambda pause: Breaker(minimum=5, open_for=pause, most_open=pause, slow=pause), call
)
RATE = LimiterKit(lambda rate: Rate(rate, rate), acquire)

ADAPTIVE = LimiterKit(
    lambda rate: AdaptiveRate(ThroughputLimit(rate), burst=rate, warm_up=None), acquire
)


@pytest.mark.parametrize("case", [*OURS.cases(), *RATE.cases(), *ADAPTIVE.cases()], ids=str)
def test_ours_does_what_is_right(case: GuardCase) -> None:
    """Every question of both kits, on virtual time."""
    assert run_virtual(case.see) == case.right


class Naive:
    """A breaker as it is written in an afternoon."""

    def __init__(self, pause: float) -> None:
        self.pause = pause
        self.failures = 0
        self.opened_at: float | None = None

    async def call(self, work: Any) -> Any:
        time = asyncio.get_running_loop().time
        if self.opened_at is not None and time() < self.opened_at + self.pause:
            raise RuntimeError("open")
        try:
            result = await work()
        except BaseException:
            self.failures += 1
            if self.failures >= 5:
                self.opened_at = time()
            raise
        self.failures, self.opened_at = 0, None
        return result


def test_the_kit_sees_what_a_naive_breaker_does_wrong() -> None:
    """The herd, the late success, the client that disconnects."""
    seen = {str(case): run_virtual(case.see) for case in BreakerKit(Naive, call).cases()}
    assert seen == {
        "opens_on_failures": "yes",
        "opens_on_hangs": "yes",
        "a_cancel_does_not_reset": "yes",
        "a_cancel_is_no_failure": "no",
        "one_probe_of_a_hundred": "100",
        "a_late_success_does_not_close": "no",
        "a_cancelled_probe_is_not_lost": "yes",
    }


class Never:
    """A breaker that never opens, and a limiter that never waits."""

    def __init__(self, _: float) -> None: ...

    async def call(self, work: Any) -> Any:
        return await work()

    async def acquire(self, cost: int) -> None:
        await asyncio.sleep(0.001)


def test_the_kits_see_guards_that_guard_nothing() -> None:
    """A breaker that lets everything through, and a limiter that lets in too much."""
    cases = BreakerKit(Never, call).cases()
    assert [run_virtual(case.see) for case in cases[:3]] == ["no", "no", "no"]
    total, heavy, _ = LimiterKit(Never, acquire).cases()
    assert run_virtual(total.see).startswith("no: ")
    assert run_virtual(heavy.see) == "yes"
    weightless = LimiterKit(Never, acquire, weighs=False).cases()[1]
    assert run_virtual(weightless.see) == "no weights"


class Leaky:
    """A limiter whose cancelled waiters keep what they had reserved, and that is never fair."""

    def __init__(self, rate: int) -> None:
        self.rate, self.due = rate, 0.0

    async def acquire(self, cost: int) -> None:
        loop = asyncio.get_running_loop()
        self.due = max(self.due, loop.time() - 1) + cost / self.rate
        await asyncio.sleep(self.due - loop.time())


def test_the_kit_sees_units_that_cancelled_waiters_keep() -> None:
    """The next caller waits for them."""
    lost = LimiterKit(Leaky, acquire).cases()[2]
    assert run_virtual(lost.see).startswith("no: waits")
