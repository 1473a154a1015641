"""Promise: a resource that is there costs at most twice what an `asyncio.Queue` of resources would.

Notes of who took it, where and when, are included. Beside it what people use: the queue,
and the pools of psycopg, redis-py and SQLAlchemy, each with a connection that does nothing.
All take one and give it back, nobody waits, and what is compared is CPU time of the process
in the same rounds.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable

from backstay.guard import Pool
from benchmarks.peers.pools import PEERS
from benchmarks.rounds import Figure, low

ROUNDS = 25
TIMES = 2_000

Use = Callable[[], Awaitable[object]]


async def _nothing() -> None: ...


def _ways(pool: Pool[object]) -> dict[str, Use]:
    async def pair() -> None:
        pool.release(await pool.acquire())

    async def block() -> None:
        async with pool.take():
            pass

    return {"bare": _nothing, "pair": pair, "block": block}


async def _cost(use: Use) -> float:
    before = time.process_time_ns()
    for _ in range(TIMES):
        await use()
    return (time.process_time_ns() - before) / TIMES


async def _open() -> object:
    return object()


async def _rounds() -> dict[str, float]:
    async with Pool(_open, name="benchmark") as pool:
        variants = _ways(pool)
        for name, make in PEERS.items():
            variants[name] = await make()
        samples: dict[str, list[float]] = {name: [] for name in variants}
        gc.disable()
        for _ in range(ROUNDS):
            for name, use in variants.items():
                samples[name].append(await _cost(use))
            gc.collect(0)
        gc.enable()
        for use in variants.values():
            close: Use | None = getattr(use, "close", None)
            if close is not None:
                await close()
    return {name: low(values) for name, values in samples.items()}


def measure() -> list[Figure]:
    """Return both ways to take one, against a bare await and against the queue."""
    costs = asyncio.run(_rounds())
    ratio = {name: cost / costs["bare"] for name, cost in costs.items()}
    peers = {name: ratio[name] for name in PEERS}
    ways = {"pair": "acquire() and release()", "block": "async with pool.take()"}
    figures: list[Figure] = []
    for name, what in ways.items():
        note = f"{what} {costs[name]:.0f} ns"
        figures += [
            Figure(
                f"guard_pool.{name}",
                ratio[name],
                "x",
                f"{note}, bare await {costs['bare']:.0f} ns",
                peers if name == "pair" else {},
            ),
            Figure(
                f"guard_pool.{name}.of_queue",
                costs[name] / costs["asyncio.Queue"],
                "x",
                f"{note}, asyncio.Queue {costs['asyncio.Queue']:.0f} ns",
            ),
        ]
    return figures
