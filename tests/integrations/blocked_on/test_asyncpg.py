"""Conformance: what waiting inside asyncpg is called, against a server that falls silent."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import asyncpg
import pytest
import uvloop

from backstay import install
from backstay.leak import report

Stack = contextlib.AsyncExitStack


async def _connect(stack: Stack, port: int) -> Any:
    connection = await asyncpg.connect(
        host="127.0.0.1", port=port, user="u", database="d", ssl=False
    )
    stack.callback(connection.terminate)
    return connection


async def _pool(stack: Stack, port: int) -> Any:
    pool = await asyncpg.create_pool(
        host="127.0.0.1", port=port, user="u", database="d", ssl=False, min_size=1, max_size=1
    )
    stack.callback(pool.terminate)
    return pool


async def fetch(stack: Stack, port: int) -> None:
    await (await _connect(stack, port)).fetch("select $1::int", 1)


async def execute(stack: Stack, port: int) -> None:
    await (await _connect(stack, port)).execute("select 1")


async def transaction(stack: Stack, port: int) -> None:
    async with (await _connect(stack, port)).transaction():
        pass


async def pool_fetch(stack: Stack, port: int) -> None:
    await (await _pool(stack, port)).fetch("select 1")


async def pool_exhausted(stack: Stack, port: int) -> None:
    pool = await _pool(stack, port)
    stack.enter_context(contextlib.suppress(Exception))
    await pool.acquire()
    async with pool.acquire():
        pass


@pytest.mark.parametrize(
    ("scenario", "label"),
    [
        (fetch, "asyncpg query"),
        (execute, "asyncpg query"),
        (transaction, "asyncpg query"),
        (pool_fetch, "asyncpg query"),
        (pool_exhausted, "asyncpg pool acquire: waiting for a free connection"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_label(classify: Any, silent_postgres: int, scenario: Any, label: str) -> None:
    """Queries, transactions and an exhausted pool are all "db", each in its own words."""
    seen = classify(lambda stack: scenario(stack, silent_postgres), label)
    assert (seen.kind, seen.label) == ("db", label)
    assert seen.site.startswith(f"{__file__}:"), seen.site


def test_connect(classify: Any, silent_port: int) -> None:
    """A server that accepts but does not speak is a wait to connect."""

    async def call(stack: Stack) -> None:
        await _connect(stack, silent_port)

    seen = classify(call, "asyncpg connect")
    assert (seen.kind, seen.label) == ("db", "asyncpg connect")


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize(("size", "rings"), [(2, [2]), (3, [])])
def test_a_pool_whose_every_holder_wants_another_connection_is_a_deadlock(
    factory: Any, silent_postgres: int, size: int, rings: list[int]
) -> None:
    """Nested acquire from one pool: a ring when all are taken; with one more, somebody goes on."""

    async def nested(pool: Any) -> None:
        async with pool.acquire():
            await asyncio.sleep(0.02)
            async with pool.acquire():
                pass

    async def main() -> list[int]:
        install()
        pool = await asyncpg.create_pool(
            host="127.0.0.1", port=silent_postgres, user="u", database="d", ssl=False,
            min_size=0, max_size=size,
        )  # fmt: skip
        tasks = [asyncio.create_task(nested(pool)) for _ in range(2)]
        for _ in range(20):
            await asyncio.sleep(0.01)
        told = [one.count for one in report().findings if one.verdict == "STUCK"]
        pool.terminate()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=0.5)
        return told

    with asyncio.Runner(loop_factory=factory) as runner:
        assert runner.run(main()) == rings
