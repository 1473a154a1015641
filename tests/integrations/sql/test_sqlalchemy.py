"""SQLAlchemy's asyncio engines and a real PostgreSQL: the deadline reaches the server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

import backstay
from backstay.errors import DeadlineExceeded, ExpiredError, UsageError
from backstay.integrations.sqlalchemy import limit_statements

pytestmark = [pytest.mark.slow, pytest.mark.real_loop]

DRIVERS = ("asyncpg", "psycopg")
SETTING = text("select setting::int from pg_settings where name = 'statement_timeout'")


def engine_of(postgres: Any, driver: str, **options: Any) -> AsyncEngine:
    url = postgres.url.replace("postgresql://", f"postgresql+{driver}://")
    return create_async_engine(url, **options)


@pytest.mark.parametrize("driver", DRIVERS)
async def test_each_transaction_tells_the_server_what_is_left(postgres: Any, driver: str) -> None:
    """With a deadline around it, and only then; taken back, nothing is set any more."""
    engine = engine_of(postgres, driver)
    forget = limit_statements(engine)
    try:
        async with backstay.timeout(2.0), engine.begin() as connection:
            assert 1_000 < (await connection.execute(SETTING)).scalar_one() <= 2_000
        async with engine.begin() as connection:
            assert (await connection.execute(SETTING)).scalar_one() == 0
        with pytest.raises(ExpiredError):
            async with backstay.timeout(5.0):
                limited = limit_statements(engine, margin=6.0)
                try:
                    async with engine.begin() as connection:
                        await connection.execute(SETTING)
                finally:
                    limited()
        forget()
        async with backstay.timeout(2.0), engine.begin() as connection:
            assert (await connection.execute(SETTING)).scalar_one() == 0
    finally:
        await engine.dispose()


@pytest.mark.parametrize("driver", DRIVERS)
async def test_statements_that_are_cut_leave_a_pool_that_works(postgres: Any, driver: str) -> None:
    """Four deadlines on a pool of four: none of the statements goes on, and four more get through."""
    engine = engine_of(postgres, driver, pool_size=4, max_overflow=0, pool_timeout=5)
    limit_statements(engine)

    async def slow() -> None:
        async with backstay.timeout(0.3), engine.begin() as connection:
            await connection.execute(text(f"select pg_sleep(30) -- {driver}"))

    async def quick() -> int:
        async with engine.begin() as connection:
            return int((await connection.execute(text("select 1"))).scalar_one())

    try:
        for one in await asyncio.gather(*(slow() for _ in range(4)), return_exceptions=True):
            assert isinstance(one, (DeadlineExceeded, DBAPIError)), one
        assert await asyncio.gather(*(quick() for _ in range(4))) == [1] * 4
        async with engine.connect() as connection:
            still = await connection.execute(
                text(
                    "select count(*) from pg_stat_activity where state = 'active'"
                    f" and query like '%-- {driver}' and pid <> pg_backend_pid()"
                )
            )
            assert still.scalar_one() == 0
    finally:
        await engine.dispose()


async def test_another_database_is_refused() -> None:
    """`statement_timeout` is PostgreSQL's."""
    engine = create_async_engine("sqlite+aiosqlite://")
    with pytest.raises(UsageError, match="this engine is for 'sqlite'"):
        limit_statements(engine)
    await engine.dispose()
