"""Promise: a guarded call costs a fraction of a stack of other libraries' guards.

Each guard alone, as a decorator or a block, and all in a `Policy` (deadline, retry, throttle,
rate, bulkhead), against the bare await of a trivial async function, in CPU time, in one run.
Beside them the peers, and a stack of the most used ones: asyncio.timeout, asyncio.Semaphore,
aiolimiter, circuitbreaker, stamina.
"""

# pyright: basic
from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiolimiter
import circuitbreaker
import stamina
import tenacity
from hyx.ratelimit import tokenbucket

from backstay.guard import (
    AdaptiveRate,
    Breaker,
    Bulkhead,
    Deadline,
    Policy,
    Rate,
    Retry,
    Throttle,
    ThroughputLimit,
    WarmUp,
)
from benchmarks.peers.breakers import KITS
from benchmarks.rounds import Figure, low

ROUNDS = 25
TIMES = 2_000
PLENTY = 1e9

Call = Callable[[], Awaitable[Any]]


async def _work() -> int:
    return 1


async def _time(call: Call) -> float:
    before = time.process_time_ns()
    for _ in range(TIMES):
        await call()
    return (time.process_time_ns() - before) / TIMES


async def _bare(_: Call) -> float:
    before = time.process_time_ns()
    for _ in range(TIMES):
        await _work()
    return (time.process_time_ns() - before) / TIMES


async def _block(guard: Any) -> float:
    before = time.process_time_ns()
    for _ in range(TIMES):
        async with guard:
            await _work()
    return (time.process_time_ns() - before) / TIMES


async def _direct(call: Callable[..., Awaitable[Any]]) -> float:
    before = time.process_time_ns()
    for _ in range(TIMES):
        await call(_work)
    return (time.process_time_ns() - before) / TIMES


def _stack() -> Call:
    """Guards of five libraries, one around the other, as people put them together."""
    places, rate = asyncio.Semaphore(32), aiolimiter.AsyncLimiter(PLENTY, 1)

    @circuitbreaker.CircuitBreaker(5, 10)
    async def inner() -> int:
        async with rate, places:
            return await _work()

    @stamina.retry(on=ConnectionError, attempts=3)
    async def outer() -> int:
        async with asyncio.timeout(2.0):
            return await inner()

    return outer


def _peers() -> dict[str, Call]:
    calls: dict[str, Call] = {}
    for name in ("circuitbreaker", "aiobreaker", "hyx", "nopanic", "interlock-cb", "grit-toolkit"):
        breaker = KITS[name].make(10.0)
        calls[f"breaker {name}"] = (
            breaker(_work) if callable(breaker) else lambda b=breaker: b.call_async(_work)
        )
    calls["retry stamina"] = stamina.retry(on=ConnectionError, attempts=3)(_work)
    calls["retry tenacity"] = tenacity.retry(stop=tenacity.stop_after_attempt(3))(_work)
    calls["stack of five"] = _stack()
    return calls


async def _timeout() -> float:
    before = time.process_time_ns()
    for _ in range(TIMES):
        async with asyncio.timeout(2.0):
            await _work()
    return (time.process_time_ns() - before) / TIMES


def _runs() -> dict[str, Callable[[], Awaitable[float]]]:
    ours: dict[str, Call] = {
        "Retry": Retry(3)(_work),
        "Throttle": Throttle()(_work),
        "Breaker": Breaker()(_work),
        "Rate": Rate(PLENTY, PLENTY)(_work),
        "AdaptiveRate": AdaptiveRate(ThroughputLimit(PLENTY), burst=PLENTY)(_work),
        "Bulkhead": Bulkhead(32)(_work),
        "Deadline": Deadline(2.0)(_work),
    }
    policies = {
        "Policy, empty": Policy("bench"),
        "Policy, deadline": Policy("bench", deadline=2.0),
        "Policy, all": Policy(
            "bench",
            deadline=2.0,
            retry=Retry(3),
            throttle=Throttle(),
            rate=Rate(PLENTY, PLENTY),
            bulkhead=Bulkhead(32),
        ),
    }
    blocks = {
        "Rate block": Rate(PLENTY, PLENTY),
        "Rate block, warm-up": Rate(PLENTY, PLENTY, warm_up=WarmUp()),
        "Bulkhead block": Bulkhead(32),
        "asyncio.Semaphore": asyncio.Semaphore(32),
        "aiolimiter": aiolimiter.AsyncLimiter(PLENTY, 1),
        "hyx bucket": tokenbucket(PLENTY, 1, PLENTY),
    }
    return {
        "bare": lambda: _bare(_work),
        **{name: (lambda call=call: _time(call)) for name, call in ours.items()},
        **{name: (lambda call=policy.call: _direct(call)) for name, policy in policies.items()},
        **{name: (lambda guard=guard: _block(guard)) for name, guard in blocks.items()},
        **{name: (lambda call=call: _time(call)) for name, call in _peers().items()},
        "asyncio.timeout": _timeout,
    }


async def _rounds() -> dict[str, float]:
    runs = _runs()
    samples: dict[str, list[float]] = {name: [] for name in runs}
    gc.disable()
    for _ in range(ROUNDS):
        for name, run in runs.items():
            samples[name].append(await run())
        gc.collect(0)
    gc.enable()
    return {name: low(values) for name, values in samples.items()}


def measure() -> list[Figure]:
    """Return the ratios to a bare await."""
    costs = asyncio.run(_rounds())
    bare = costs["bare"]

    def figure(name: str, ours: str, *peers: str) -> Figure:
        note = f"{ours} {costs[ours]:.0f} ns, a bare await {bare:.0f} ns"
        return Figure(name, costs[ours] / bare, "x", note, {p: costs[p] / bare for p in peers})

    breakers = [name for name in costs if name.startswith("breaker ")]
    return [
        figure("guard.retry", "Retry", "retry stamina", "retry tenacity"),
        figure("guard.rate", "Rate block", "aiolimiter", "hyx bucket"),
        figure("guard.rate.warm_up", "Rate block, warm-up", "Rate block"),
        figure("guard.adaptive_rate", "AdaptiveRate", "Rate"),
        figure("guard.bulkhead", "Bulkhead block", "asyncio.Semaphore"),
        figure("guard.breaker", "Breaker", *breakers),
        figure("guard.throttle", "Throttle"),
        figure("guard.deadline", "Deadline", "asyncio.timeout"),
        figure("guard.policy.deadline", "Policy, deadline", "Policy, empty"),
        figure("guard.policy", "Policy, all", "stack of five"),
        Figure(
            "guard.policy.of_stack",
            costs["Policy, all"] / costs["stack of five"],
            "x",
            "the same policy, of a stack of five libraries",
        ),
    ]
