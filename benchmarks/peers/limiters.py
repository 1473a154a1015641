"""Rate limiters that wait: ours and seven others, each for so many units a second and as large a burst.

Versions are those of requirements/dev.txt. `limits` has no way to wait; it is asked again each millisecond.
"""

# pyright: basic
from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import aiolimiter
import limits
import limits.aio.storage
import limits.aio.strategies
import nopanic
import pyrate_limiter
import pyresilience
import throttled.asyncio as throttled
from hyx.ratelimit import tokenbucket

from backstay.guard import Rate
from backstay.testing.conformance import LimiterKit

clock = time.monotonic


async def _ours(limiter: Any, cost: int) -> None:
    await limiter.acquire(cost)


async def _nothing() -> None: ...


def _decorated(make: Callable[[int], Any]) -> Callable[[int], Any]:
    return lambda rate: make(rate)(_nothing)


async def _call(limiter: Any, cost: int) -> None:
    await limiter()


async def _block(limiter: Any, cost: int) -> None:
    async with limiter:
        pass


def _limits(rate: int) -> Any:
    strategy = limits.aio.strategies.MovingWindowRateLimiter(limits.aio.storage.MemoryStorage())
    item = limits.RateLimitItemPerSecond(rate)

    async def hit(cost: int) -> None:
        while not await strategy.hit(item, "key", cost=cost):
            await asyncio.sleep(0.001)

    return hit


async def _hit(limiter: Any, cost: int) -> None:
    await limiter(cost)


def _pyrate(rate: int) -> Any:
    return pyrate_limiter.Limiter(
        pyrate_limiter.InMemoryBucket([pyrate_limiter.Rate(rate, pyrate_limiter.Duration.SECOND)])
    )


async def _pyrate_acquire(limiter: Any, cost: int) -> None:
    await limiter.try_acquire_async("key", weight=cost)


def _throttled(rate: int) -> Any:
    return throttled.Throttled(
        key="key",
        using="gcra",
        quota=throttled.rate_limiter.per_sec(rate, burst=rate),
        timeout=60,
        store=throttled.MemoryStore(),
    )


async def _throttled_acquire(limiter: Any, cost: int) -> None:
    await limiter.limit(cost=cost)


KITS: dict[str, LimiterKit] = {
    "backstay": LimiterKit(lambda rate: Rate(rate, rate, name="bench"), _ours, clock=clock),
    "aiolimiter": LimiterKit(lambda rate: aiolimiter.AsyncLimiter(rate, 1), _ours, clock=clock),
    "limits, moving window": LimiterKit(_limits, _hit, clock=clock),
    "pyrate-limiter": LimiterKit(_pyrate, _pyrate_acquire, clock=clock),
    "throttled-py, gcra": LimiterKit(_throttled, _throttled_acquire, clock=clock),
    "hyx": LimiterKit(lambda rate: tokenbucket(rate, 1, rate), _block, weighs=False, clock=clock),
    "nopanic": LimiterKit(
        _decorated(lambda rate: nopanic.rate_limit(rate, per=1.0)), _call, weighs=False, clock=clock
    ),
    "pyresilience": LimiterKit(
        _decorated(
            lambda rate: pyresilience.resilient(
                rate_limiter=pyresilience.RateLimiterConfig(
                    max_calls=rate, period=1.0, max_wait=60.0
                )
            )
        ),
        _call,
        weighs=False,
        clock=clock,
    ),
}
