"""Pools of other libraries, each with one connection that does nothing, so that what is left is the pool.

Versions are those of requirements/dev.txt.
"""

# pyright: basic
from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import redis.asyncio as redis
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool
from sqlalchemy.pool import AsyncAdaptedQueuePool
from sqlalchemy.util import greenlet_spawn

Use = Callable[[], Awaitable[object]]


class _Status:
    transaction_status = TransactionStatus.IDLE


class _PsycopgConnection:
    """As much of a psycopg connection as its pool looks at."""

    pgconn = _Status()
    autocommit = False
    closed = False
    _pool: Any = None
    _created_at = _expire_at = 0.0

    @classmethod
    async def connect(cls, *_: Any, **__: Any) -> _PsycopgConnection:
        return cls()

    async def close(self) -> None: ...


class _RedisConnection(redis.Connection):
    """Is connected, and has nothing to read."""

    async def connect(self) -> None: ...

    async def can_read(self, *_: Any, **__: Any) -> bool:
        return False

    def should_reconnect(self) -> bool:
        return False


class _Dbapi:
    """A connection of no database."""

    def rollback(self) -> None: ...

    def close(self) -> None: ...


async def psycopg() -> Use:
    """Return a use of psycopg's pool."""
    pool: Any = AsyncConnectionPool(
        connection_class=_PsycopgConnection,  # type: ignore[type-var]
        min_size=1,
        max_size=4,
        open=False,
    )
    await pool.open(wait=True)

    async def use() -> None:
        await pool.putconn(await pool.getconn())

    use.close = pool.close  # type: ignore[attr-defined]
    return use


async def redis_py() -> Use:
    """Return a use of redis-py's pool."""
    pool: Any = redis.ConnectionPool(connection_class=_RedisConnection, max_connections=4)

    async def use() -> None:
        await pool.release(await pool.get_connection())

    return use


async def sqlalchemy() -> Use:
    """Return a use of SQLAlchemy's pool for async engines, which runs in a greenlet."""
    pool = AsyncAdaptedQueuePool(_Dbapi, pool_size=4, reset_on_return=None)  # type: ignore[arg-type]

    def both() -> None:
        pool.connect().close()

    async def use() -> None:
        await greenlet_spawn(both)

    return use


async def queue() -> Use:
    """Return a use of what people build one from."""
    line: asyncio.Queue[object] = asyncio.Queue()
    line.put_nowait(object())

    async def use() -> None:
        await line.put(await line.get())

    return use


PEERS: dict[str, Callable[[], Awaitable[Use]]] = {
    "asyncio.Queue": queue,
    "psycopg_pool": psycopg,
    "redis-py": redis_py,
    "SQLAlchemy": sqlalchemy,
}
