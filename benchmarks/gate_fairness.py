"""Promise: behind a gate nobody starves, and it costs little of what a pool can do.

64 workers on 10 connections of redis-py's `BlockingConnectionPool`, against a real Redis on this
machine, alone and behind a gate, in turn. What is held against a budget: how many turns the
luckiest worker had for each of the unluckiest, and the turns of all.
"""

# pyright: basic
from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

import redis.asyncio

from backstay.integrations.gates import gate
from benchmarks.rounds import Figure
from benchmarks.shared_rate import load_services

ROUNDS = 3
SECONDS = 1.0
WORKERS = 64
PLACES = 10


def _client(url: str) -> Any:
    pool = redis.asyncio.BlockingConnectionPool.from_url(url, max_connections=PLACES)
    return redis.asyncio.Redis(connection_pool=pool)


async def _turns(client: Any) -> list[int]:
    counts = [0] * WORKERS
    until = time.monotonic() + SECONDS

    async def work(number: int) -> None:
        while time.monotonic() < until:
            await client.incr("turns")
            counts[number] += 1

    await asyncio.gather(*(work(number) for number in range(WORKERS)))
    await client.aclose()
    await client.connection_pool.disconnect()
    return counts


async def _rounds(url: str) -> tuple[list[int], list[int]]:
    alone, gated = [0] * WORKERS, [0] * WORKERS
    for _ in range(ROUNDS):
        for total, client in (
            (alone, _client(url)),
            (gated, gate(_client(url), queue=WORKERS, target=None)),
        ):
            for number, count in enumerate(await _turns(client)):
                total[number] += count
    return alone, gated


def measure() -> list[Figure]:
    """Return how unequal turns are, and what a gate takes of all of them."""
    with tempfile.TemporaryDirectory() as folder:
        server = load_services().RedisServer(Path(folder) / "redis")
        server.start()
        try:
            alone, gated = asyncio.run(_rounds(server.url))
        finally:
            server.stop()
    note = f"turns of 64 workers on 10 connections: {min(gated)} to {max(gated)}"
    peers = {"redis-py alone": max(alone) / max(1, min(alone))}
    return [
        Figure("gate.unfairness", max(gated) / max(1, min(gated)), "x", note, peers),
        Figure("gate.cost", sum(alone) / sum(gated), "x", "turns of all, alone to gated"),
    ]
