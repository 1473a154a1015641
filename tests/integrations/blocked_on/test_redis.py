"""Conformance: what waiting inside redis-py is called, against a server that never answers."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import redis.asyncio as redis

Stack = contextlib.AsyncExitStack


def _client(stack: Stack, port: int, **options: Any) -> Any:
    client = redis.Redis(host="127.0.0.1", port=port, socket_timeout=None, **options)
    stack.push_async_callback(client.connection_pool.disconnect)
    return client


def test_command(classify: Any, silent_port: int) -> None:
    """A command that gets no answer is "db", and says how far it came."""

    async def call(stack: Stack) -> None:
        await _client(stack, silent_port).get("key")

    label = "redis command: waiting for the reply"
    seen = classify(call, label)
    assert (seen.kind, seen.label) == ("db", label)
    assert seen.site.startswith(f"{__file__}:"), seen.site


def test_pipeline(classify: Any, silent_port: int) -> None:
    """A pipeline is a command like any other."""

    async def call(stack: Stack) -> None:
        async with _client(stack, silent_port).pipeline() as pipeline:
            pipeline.get("a")
            await pipeline.execute()

    seen = classify(call, "redis command: waiting for the reply")
    assert seen.kind == "db"
    assert seen.label.startswith("redis command")


def test_exhausted_pool(classify: Any, silent_port: int) -> None:
    """A blocking pool without a free connection says so."""

    async def call(stack: Stack) -> None:
        pool = redis.BlockingConnectionPool(
            host="127.0.0.1", port=silent_port, max_connections=1, timeout=None, socket_timeout=None
        )
        stack.push_async_callback(pool.disconnect)
        client = redis.Redis(connection_pool=pool)
        first = asyncio.create_task(client.get("key"))
        stack.callback(first.cancel)
        await asyncio.sleep(0.05)
        await client.get("key")

    label = "redis command: waiting for a free connection"
    seen = classify(call, label)
    assert (seen.kind, seen.label) == ("db", label)


def test_subscription(classify: Any, silent_port: int) -> None:
    """A subscriber has its own label, since it is meant to wait."""

    async def call(stack: Stack) -> None:
        pubsub = _client(stack, silent_port).pubsub()
        await pubsub.subscribe("news")

    seen = classify(call, "redis pubsub: waiting for the reply")
    assert seen.kind == "db"
    assert seen.label.startswith("redis pubsub")
