"""Checks for `lifecycle.Health`, each a small function that takes the client you have.

No library is imported here: a client is asked by the methods that it has. A check returns a few words when the
dependency is up, and raises when it is not; time-outs and hysteresis are the business of `Health`.

    health.add("redis", redis_ping(client))
    health.add("database", select_1(pool), timeout=1.0)
    health.add("prices", cache_age(prices.age, 60.0), critical=False)

Tested with redis-py, nats-py 2.16, grpcio, asyncpg, psycopg_pool and SQLAlchemy, and their servers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from backstay.errors import BackstayError

__all__ = [
    "NotHealthy",
    "cache_age",
    "etcd_answers",
    "grpc_state",
    "nats_state",
    "pool_places",
    "redis_ping",
    "select_1",
]

Check = Callable[[], Awaitable[str]]


class NotHealthy(BackstayError):
    """A check has found a dependency that does not work, in words."""


def redis_ping(client: Any) -> Check:
    """Send a PING.

    Args:
        client: of `redis.asyncio`.
    """

    async def check() -> str:
        """Make the check once."""
        await client.ping()
        return ""

    return check


def nats_state(client: Any) -> Check:
    """Look at the state of the connection, and wait for an answer of the server.

    The state alone is not enough: a server that hangs stays "connected" until its pings go unanswered. What is asked is a
    message to ourselves, and not `flush`: one that is cut by a time-out ends nats-py's reading task as soon as
    its answer comes, and all later ones succeed although nobody answers.

    Args:
        client: of nats-py.
    """
    echo = _Echo(client)

    async def check() -> str:
        """Make the check once."""
        if not client.is_connected:
            words = ("closed", "draining", "reconnecting", "connecting")
            found = next((word for word in words if getattr(client, f"is_{word}", False)), "away")
            raise NotHealthy(f"the connection is {found}; last error: {client.last_error}")
        await echo.comes_back()
        return ""

    return check


class _Echo:
    """A message that a client sends to itself, by way of the server."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._inbox = ""
        self._sent = 0
        self._heard = 0
        self._news: asyncio.Event | None = None

    async def comes_back(self) -> None:
        """Send one, and wait for it or a later one; may be cut at any time."""
        if self._news is None:
            inbox = self._client.new_inbox()
            await self._client.subscribe(inbox, cb=self._hear)
            self._news, self._inbox = asyncio.Event(), inbox
        self._sent += 1
        number = self._sent
        await self._client.publish(self._inbox, b"%d" % number)
        while self._heard < number:
            self._news.clear()
            await self._news.wait()

    async def _hear(self, message: Any) -> None:
        self._heard = max(self._heard, int(message.data))
        if self._news is not None:
            self._news.set()


def etcd_answers(client: Any, key: str = "health") -> Check:
    """Read a key, as a majority of the members has it; it need not be there.

    Args:
        client: an `integrations.etcd.EtcdClient`.
        key: which.
    """

    async def check() -> str:
        """Make the check once."""
        await client.get(key)
        return ""

    return check


def grpc_state(channel: Any) -> Check:
    """Look at the state of a channel, and let one that is idle connect.

    "READY" and "IDLE" pass, since a channel becomes idle when nobody calls.

    Args:
        channel: of `grpc.aio`.
    """

    async def check() -> str:
        """Make the check once."""
        state = str(channel.get_state(try_to_connect=True).name)
        if state not in ("READY", "IDLE"):
            raise NotHealthy(f"the channel is {state}")
        return state

    return check


def select_1(database: Any) -> Check:
    """Let the database answer the smallest of questions, over a connection of the pool.

    So a pool without a free connection fails, too: within the time-out of the check nobody else got one.

    Args:
        database: a pool of asyncpg, an `AsyncConnectionPool` of psycopg, or an `AsyncEngine` of SQLAlchemy.

    Raises:
        TypeError: it is none of these.
    """
    if hasattr(database, "fetchval"):
        return _asked(database.fetchval)
    if hasattr(database, "connection"):
        return _over(database.connection, "execute")
    if hasattr(database, "connect"):
        return _over(database.connect, "exec_driver_sql")
    raise TypeError(
        f"a pool of asyncpg or psycopg, or an engine of SQLAlchemy is expected, not {type(database).__name__}"
    )


def _asked(ask: Callable[[str], Awaitable[object]]) -> Check:
    async def check() -> str:
        """Make the check once."""
        await ask("select 1")
        return ""

    return check


def _over(connect: Callable[[], Any], method: str) -> Check:
    async def check() -> str:
        """Make the check once."""
        async with connect() as connection:
            await getattr(connection, method)("select 1")
        return ""

    return check


def pool_places(pool: Any, *, waiting: int = 0) -> Check:
    """Look at how full a pool is: it fails while everything is lent and more than `waiting` callers wait.

    Args:
        pool: a `guard.Pool`, or whatever has `statistics()` with `max_open`, `in_use` and `waiting`.
        waiting: callers that may wait.
    """

    async def check() -> str:
        """Make the check once."""
        found = pool.statistics()
        words = f"{found.in_use} of {found.max_open} lent, {found.waiting} wait"
        if found.in_use >= found.max_open and found.waiting > waiting:
            raise NotHealthy(words)
        return words

    return check


def cache_age(age: Callable[[], float | None], ttl: float) -> Check:
    """Look at the age of what is kept here: it fails when that is older than its time to live.

    Args:
        age: returns seconds, or None while there is nothing.
        ttl: seconds.
    """

    async def check() -> str:
        """Make the check once."""
        seconds = age()
        if seconds is None:
            raise NotHealthy("nothing was fetched yet")
        if seconds > ttl:
            raise NotHealthy(f"{seconds:.3g} s old, and good for {ttl:g} s")
        return f"{seconds:.3g} s old"

    return check
