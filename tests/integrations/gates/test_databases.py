"""Gates in front of asyncpg, psycopg and SQLAlchemy, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import asyncpg
import psycopg_pool
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from backstay import Scope
from backstay.errors import FullError
from backstay.integrations.gates import gate

pytestmark = [pytest.mark.real_loop, pytest.mark.slow]

Take = Callable[[], AbstractAsyncContextManager[Any]]
PLACES = 3


async def asyncpg_pool(url: str) -> tuple[Any, Take, Callable[[Any], Awaitable[Any]]]:
    pool = gate(await asyncpg.create_pool(url, min_size=1, max_size=PLACES), name="asyncpg")
    return pool, pool.acquire, lambda connection: connection.fetchval("select pg_sleep(0.01)")


async def psycopg_pool_(url: str) -> tuple[Any, Take, Callable[[Any], Awaitable[Any]]]:
    inner = psycopg_pool.AsyncConnectionPool(url, min_size=1, max_size=PLACES, open=False)
    await inner.open()
    pool = gate(inner, name="psycopg")
    return pool, pool.connection, lambda connection: connection.execute("select pg_sleep(0.01)")


async def engine(url: str) -> tuple[Any, Take, Callable[[Any], Awaitable[Any]]]:
    address = url.replace("postgresql://", "postgresql+asyncpg://")
    made = gate(create_async_engine(address, pool_size=2, max_overflow=1), name="sqlalchemy")
    return made, made.connect, lambda connection: connection.execute(text("select pg_sleep(0.01)"))


async def session(url: str) -> tuple[Any, Take, Callable[[Any], Awaitable[Any]]]:
    made, _, _ = await engine(url)
    return made, made.session, lambda one: one.execute(text("select pg_sleep(0.01)"))


@pytest.mark.parametrize("make", [asyncpg_pool, psycopg_pool_, engine, session])
async def test_statistics_owners_and_a_bounded_line(postgres_url: str, make: Any) -> None:
    """What the gate tells is what happened, and it ends as it began, whoever was cancelled."""
    pool, take, work = await make(postgres_url)
    try:
        assert pool.gate.statistics().limit == PLACES, "read from the pool"

        async def use() -> None:
            async with take() as connection:
                await work(connection)

        async with Scope("handler"):
            await asyncio.gather(*(use() for _ in range(6)))
        seen = pool.gate.statistics()
        assert (seen.in_flight, seen.use.count, seen.wait.count) == (0, 6, 3)
        assert seen.use.total_s >= 0.06
        async with take(), take(), take():
            holdings = pool.gate.holdings()
            assert len(holdings) == PLACES
            assert all("test_databases.py:" in holding.site for holding in holdings)
            waiting = [asyncio.create_task(use()) for _ in range(3)]
            await asyncio.sleep(0.005)
            with pytest.raises(FullError):
                await use()
            waiting[0].cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        # Cancelled in the middle of a query, and in line: nothing of it stays out.
        tasks = [asyncio.create_task(use()) for _ in range(6)]
        await asyncio.sleep(0.004)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert pool.gate.statistics().in_flight == 0
        await use()
    finally:
        await (pool.dispose() if hasattr(pool, "dispose") else pool.close())


async def test_the_short_cuts_of_asyncpg_hold_a_place(postgres_url: str) -> None:
    """`pool.fetchval(...)` is counted, served in turn, and named with the line that calls it."""
    pool, _, _ = await asyncpg_pool(postgres_url)
    try:
        assert await pool.fetchval("select 7") == 7
        await pool.execute("select 1")
        slow = asyncio.create_task(_sleep(pool))
        await asyncio.sleep(0.1)
        (holding,) = pool.gate.holdings()
        assert "test_databases.py:" in holding.site
        await slow
        assert pool.gate.statistics().use.count == 3
    finally:
        await pool.close()


async def _sleep(pool: Any) -> None:
    await pool.fetchval("select pg_sleep(0.3)")
