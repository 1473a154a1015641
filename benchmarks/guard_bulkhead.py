"""Promise: a place in a bulkhead, or a way through an admission, costs at most 8 bare awaits.

Beside what people use for it: `asyncio.Semaphore` and `anyio.CapacityLimiter`. All are
around the same trivial async function, nobody waits, and what is compared is CPU time of
the process in the same rounds.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable

import anyio

from backstay.guard import AdaptiveBulkhead, Admission, Bulkhead
from benchmarks.rounds import Figure, low

ROUNDS = 25
TIMES = 3_000

Call = Callable[[], Awaitable[object]]


async def _nothing() -> None: ...


def _variants() -> dict[str, Call]:
    bulkhead, adaptive, door = Bulkhead(8, name="b"), AdaptiveBulkhead(name="a"), Admission()
    semaphore, limiter = asyncio.Semaphore(8), anyio.CapacityLimiter(8)

    async def block() -> None:
        async with bulkhead:
            await _nothing()

    async def by_hand() -> None:
        bulkhead.take()
        try:
            await _nothing()
        finally:
            bulkhead.release()

    async def admitted() -> None:
        door.take()
        try:
            await _nothing()
        finally:
            door.leave()

    async def in_semaphore() -> None:
        async with semaphore:
            await _nothing()

    async def in_limiter() -> None:
        async with limiter:
            await _nothing()

    return {
        "bare": _nothing,
        "block": block,
        "decorator": bulkhead(_nothing),
        "call": lambda: bulkhead.call(_nothing),
        "take": by_hand,
        "adaptive": adaptive(_nothing),
        "admission": admitted,
        "asyncio.Semaphore": in_semaphore,
        "anyio.CapacityLimiter": in_limiter,
    }


async def _cost(call: Call) -> float:
    before = time.process_time_ns()
    for _ in range(TIMES):
        await call()
    return (time.process_time_ns() - before) / TIMES


async def _rounds() -> dict[str, float]:
    variants = _variants()
    samples: dict[str, list[float]] = {name: [] for name in variants}
    gc.disable()
    for _ in range(ROUNDS):
        for name, call in variants.items():
            samples[name].append(await _cost(call))
        gc.collect(0)
    gc.enable()
    return {name: low(values) for name, values in samples.items()}


def measure() -> list[Figure]:
    """Return each way against the bare await, peers beside the block."""
    costs = asyncio.run(_rounds())
    ratio = {name: cost / costs["bare"] for name, cost in costs.items()}
    peers = {name: ratio[name] for name in ("asyncio.Semaphore", "anyio.CapacityLimiter")}
    ways = {
        "block": "async with bulkhead",
        "decorator": "@bulkhead",
        "call": "bulkhead.call(f)",
        "take": "take() and release()",
        "adaptive": "@adaptive: two readings of the clock, and learning from them",
        "admission": "admission.take() and leave()",
    }
    return [
        Figure(
            f"guard_bulkhead.{name}",
            ratio[name],
            "x",
            f"{what} {costs[name]:.0f} ns, bare await {costs['bare']:.0f} ns",
            peers if name == "block" else {},
        )
        for name, what in ways.items()
    ]
