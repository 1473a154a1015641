"""Circuit breakers: ours and eleven others, each set to open after 5 failures.

Where a library knows slow calls, its limit is set as ours is. One entry a library: how to
make a breaker that stays open for some seconds, and how to call a function through it.
Versions are those of requirements/dev.txt.
"""

# pyright: basic
from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import aiobreaker
import aioresilience
import circuitbreaker
import fluxgate
import fluxgate.retries
import fluxgate.trippers
import grit
import interlock
import nopanic
import purgatory
import pybreaker
import pyresilience
from hyx.circuitbreaker import consecutive_breaker

from backstay.guard import Breaker
from backstay.testing.conformance import BreakerKit

PAUSE = 0.25
Work = Callable[[], Awaitable[Any]]


async def by_method(breaker: Any, work: Work) -> Any:
    """Call by ``breaker.call``."""
    return await breaker.call(work)


async def by_decorator(breaker: Any, work: Work) -> Any:
    """Call by decorating the function."""
    return await breaker(work)()


async def by_call_async(breaker: Any, work: Work) -> Any:
    """Call by ``breaker.call_async``."""
    return await breaker.call_async(work)


async def by_block(breaker: Any, work: Work) -> Any:
    """Call inside ``async with breaker``."""
    async with await breaker() as _:
        return await work()


def ours(pause: float) -> Any:
    """Backstay's, with a slow limit, which is what notices hangs."""
    return Breaker("bench", minimum=5, open_for=pause, most_open=pause, slow=pause)


def _purgatory(pause: float) -> Any:
    factory = purgatory.AsyncCircuitBreakerFactory(default_threshold=5, default_ttl=pause)
    name = uuid.uuid4().hex
    return lambda: factory.get_breaker(name)


def _interlock(pause: float) -> Any:
    return interlock.CircuitBreaker(
        name=uuid.uuid4().hex,
        config=interlock.Config(
            minimum_number_of_calls=5,
            wait_duration_in_open=pause,
            permitted_calls_in_half_open=1,
            slow_call_duration_threshold=pause,
            slow_call_rate_threshold=0.5,
        ),
    )


def _aioresilience(pause: float) -> Any:
    config = aioresilience.CircuitConfig(
        failure_threshold=5, recovery_timeout=pause, success_threshold=1, timeout=1000.0
    )
    return aioresilience.CircuitBreaker(uuid.uuid4().hex, config)


def _pyresilience(pause: float) -> Any:
    config = pyresilience.CircuitBreakerConfig(
        failure_threshold=5, recovery_timeout=pause, success_threshold=1
    )
    made: dict[str, Any] = {}

    async def run(work: Work) -> Any:
        return await work()

    made["run"] = pyresilience.resilient(circuit_breaker=config)(run)
    return made["run"]


async def _by_function(breaker: Any, work: Work) -> Any:
    return await breaker(work)


def _fluxgate(pause: float) -> Any:
    return fluxgate.AsyncCircuitBreaker(
        tripper=fluxgate.trippers.MinRequests(5)
        & (fluxgate.trippers.FailureRate(0.5) | fluxgate.trippers.SlowRate(0.5, threshold=pause)),
        retry=fluxgate.retries.Cooldown(pause),
    )


KITS: dict[str, BreakerKit] = {
    "backstay": BreakerKit(ours, by_method, PAUSE),
    "circuitbreaker": BreakerKit(
        lambda p: circuitbreaker.CircuitBreaker(5, p, name=uuid.uuid4().hex), by_decorator, PAUSE
    ),
    "pybreaker": BreakerKit(
        lambda p: pybreaker.CircuitBreaker(fail_max=5, reset_timeout=p), by_decorator, PAUSE
    ),
    "aiobreaker": BreakerKit(
        lambda p: aiobreaker.CircuitBreaker(5, timedelta(seconds=p)), by_call_async, PAUSE
    ),
    "purgatory": BreakerKit(_purgatory, by_block, PAUSE),
    "hyx": BreakerKit(lambda p: consecutive_breaker(Exception, 5, p, 1), by_decorator, PAUSE),
    "pyresilience": BreakerKit(_pyresilience, _by_function, PAUSE),
    "fluxgate": BreakerKit(_fluxgate, by_decorator, PAUSE),
    "aioresilience": BreakerKit(_aioresilience, by_method, PAUSE),
    "interlock-cb": BreakerKit(_interlock, by_call_async, PAUSE),
    "nopanic": BreakerKit(
        lambda p: nopanic.circuit_breaker(
            failure_threshold=0.5,
            min_calls=5,
            reset_timeout=p,
            half_open_max_calls=1,
            slow_call_duration=p,
            slow_call_threshold=0.5,
        ),
        by_decorator,
        PAUSE,
    ),
    "grit-toolkit": BreakerKit(lambda p: grit.breaker(fails=5, reset_after=p), by_decorator, PAUSE),
}
