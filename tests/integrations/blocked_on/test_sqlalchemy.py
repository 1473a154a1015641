"""Conformance: what waiting inside SQLAlchemy's asyncio layer (over asyncpg) is called."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

pytest.importorskip("asyncpg")
sqlalchemy = pytest.importorskip("sqlalchemy")
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine  # noqa: E402

Stack = contextlib.AsyncExitStack


def _engine(stack: Stack, port: int) -> Any:
    return create_async_engine(
        f"postgresql+asyncpg://u@127.0.0.1:{port}/d?ssl=disable",
        pool_size=1,
        max_overflow=0,
        pool_timeout=60,
    )


def test_query(classify: Any, silent_postgres: int) -> None:
    """Work done in a greenlet is named by the call of SQLAlchemy that the user wrote."""

    async def call(stack: Stack) -> None:
        async with AsyncSession(_engine(stack, silent_postgres)) as session:
            await session.execute(sqlalchemy.text("select 1"))

    seen = classify(call, "sqlalchemy")
    assert (seen.kind, seen.label) == ("db", "sqlalchemy")
    assert seen.site.startswith(f"{__file__}:"), seen.site


def test_exhausted_pool(classify: Any, silent_postgres: int) -> None:
    """A pool without a free connection says so, whatever the database does."""

    async def call(stack: Stack) -> None:
        engine = _engine(stack, silent_postgres)
        first = asyncio.create_task(_ask(engine))
        stack.callback(first.cancel)
        await asyncio.sleep(0.1)
        await _ask(engine)

    label = "sqlalchemy: waiting for a free connection"
    seen = classify(call, label)
    assert (seen.kind, seen.label) == ("db", label)


async def _ask(engine: Any) -> None:
    async with engine.connect() as connection:
        await connection.execute(sqlalchemy.text("select 1"))
