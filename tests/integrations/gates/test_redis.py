"""A gate in front of redis-py: served in turn, where its own pool lets some starve."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
import redis.asyncio

from backstay.integrations.gates import gate

pytestmark = [pytest.mark.real_loop, pytest.mark.slow]

WORKERS = 64
PLACES = 10


async def share_out(client: Any, seconds: float) -> list[int]:
    """Let workers use a client as fast as they can; return how often each had its turn."""
    counts = [0] * WORKERS
    until = time.monotonic() + seconds

    async def work(number: int) -> None:
        while time.monotonic() < until:
            await client.incr("turns")
            counts[number] += 1

    await asyncio.gather(*(work(number) for number in range(WORKERS)))
    return counts


def client_of(url: str, **options: Any) -> Any:
    pool = redis.asyncio.BlockingConnectionPool.from_url(url, max_connections=PLACES, **options)
    return redis.asyncio.Redis(connection_pool=pool)


async def test_all_workers_have_their_turn(redis_url: str) -> None:
    """64 workers on 10 connections: alone some get nothing like their share, behind a gate all do."""
    alone = client_of(redis_url)
    unfair = await share_out(alone, 1.0)
    await alone.aclose()
    await alone.connection_pool.disconnect()
    gated = gate(client_of(redis_url), name="redis", queue=WORKERS, target=None)
    fair = await share_out(gated, 1.0)
    seen = gated.gate.statistics()
    assert (seen.in_flight, seen.limit, seen.use.count) == (0, PLACES, sum(fair))
    assert seen.wait.count > 0
    await gated.aclose()
    await gated.connection_pool.disconnect()
    assert min(fair) >= 0.5 * max(fair), (min(fair), max(fair))
    assert min(fair) / max(fair) > 2 * min(unfair) / max(unfair), (min(unfair), max(unfair))


async def test_pipelines_cancels_and_who_holds_what(redis_url: str) -> None:
    """A pipeline holds one place; a cancelled command gives it back; a blocking one is named."""
    client = gate(client_of(redis_url), name="redis")
    async with client.pipeline() as pipeline:
        await pipeline.set("a", 1).get("a").execute()

    async def wait() -> None:
        await client.blpop(["nothing"], timeout=5)

    waits = asyncio.create_task(wait())
    await asyncio.sleep(0.05)
    (holding,) = client.gate.holdings()
    assert "Connection" in holding.what
    assert "test_redis.py:" in holding.site
    waits.cancel()
    await asyncio.gather(waits, return_exceptions=True)
    assert client.gate.statistics().in_flight == 0
    assert await client.get("a") == b"1"
    await client.aclose()
    await client.connection_pool.disconnect()
