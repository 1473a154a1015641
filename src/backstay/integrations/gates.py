"""Gates for the pools of asyncpg, psycopg, SQLAlchemy, redis-py, httpx and aiohttp.

Nothing is imported: whoever has such a pool has the library. Tested with asyncpg 0.32,
psycopg_pool 3.3, SQLAlchemy 2.1, redis-py 8.1, httpx 0.28 and aiohttp 3.14.

    pool = gate(await asyncpg.create_pool(...), name="orders-db")
    async with pool.acquire() as connection: ...
    pool.gate.statistics(), pool.gate.holdings()

What it adds, the same for all of them: a line that is fair, bounded and short (`Bulkhead`'s), how
many waited and for how long, how long connections are in use, and who has each of them, since
when and from which line of code, so that one which nobody gives back is named.

The gate has as many places as the pool has connections, and reads that from the pool.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache
from types import FrameType
from typing import Any

from backstay.errors import UsageError
from backstay.guard import Gate
from backstay.guard._pool_records import Item
from backstay.guard.rules.queue_delay import TARGET_S

__all__ = [
    "GatedEngine",
    "GatedPool",
    "GatedRedisPool",
    "GatedTransport",
    "gate",
]


# Of asyncpg's pools: each takes a connection out for itself.
_SHORT_CUTS = frozenset(
    {
        "copy_from_query",
        "copy_from_table",
        "copy_records_to_table",
        "copy_to_table",
        "execute",
        "executemany",
        "fetch",
        "fetchmany",
        "fetchrow",
        "fetchval",
    }
)


def gate(
    pool: Any,
    *,
    name: str = "",
    size: int | None = None,
    queue: int | None = None,
    target: float | None = TARGET_S,
    max_wait: float | None = None,
) -> Any:
    """Return `pool` with a gate in front of it, to be used as the pool itself.

    Args:
        pool: an `asyncpg.Pool`, a `psycopg_pool.AsyncConnectionPool`, an SQLAlchemy `AsyncEngine`,
            a `redis.asyncio.Redis` or its connection pool, an `httpx.AsyncHTTPTransport`, or an
            `aiohttp` connector. A Redis client and a connector are changed and returned.
        name: of what it leads to, for people; the kind of the pool when omitted.
        size: how many connections it has; read from the pool when omitted.
        queue: callers that may wait; as many as there are connections when omitted.
        target: seconds that a caller may wait in a line that does not empty; None for as long as
            its deadline or `max_wait` allows.
        max_wait: seconds that a caller may wait; None for as long as the line is short and the
            caller's deadline allows.

    Returns:
        Something with all that the pool has, and `.gate`, which is a `Gate`.

    Raises:
        UsageError: it is none of these, or does not say how many connections it has.
    """
    for module, kind, wrap, read in _KINDS:
        if _is_a(pool, module, kind):
            places = read(pool) if size is None else size
            if not places or places < 1:
                raise UsageError(
                    f"gate({type(pool).__name__}) needs to know how many connections there may be, and "
                    f"the pool sets no bound ({places!r}): give it one, or say size=..."
                )
            name = name or type(pool).__name__
            return wrap(pool, Gate(places, queue, name=name, target=target, max_wait=max_wait))
    raise UsageError(
        f"gate() knows no pool of {type(pool).__module__}.{type(pool).__qualname__}: expected one of "
        f"asyncpg, psycopg_pool, SQLAlchemy, redis-py, httpx or aiohttp; for others use "
        f"backstay.guard.Gate around what takes a connection out"
    )


def _is_a(thing: Any, module: str, kind: str) -> bool:
    return any(
        one.__name__ == kind and one.__module__.partition(".")[0] == module
        for one in type(thing).__mro__
    )


class _Gated:
    """All that a pool has, and a gate.

    Attributes:
        gate: its figures, and who holds what.
    """

    def __init__(self, pool: Any, gate_: Gate) -> None:
        self._pool = pool
        self.gate = gate_

    def __getattr__(self, name: str) -> Any:
        """Everything else is the pool's own."""
        return getattr(self._pool, name)

    def __repr__(self) -> str:
        """Show the pool and its gate."""
        return f"<{type(self).__name__} {self._pool!r} behind {self.gate!r}>"

    def _behind(
        self, frame: FrameType, inner: Callable[[], AbstractAsyncContextManager[Any]]
    ) -> AbstractAsyncContextManager[Any]:
        return _behind(self.gate, frame, inner)


@asynccontextmanager
async def _behind(
    gate_: Gate, frame: FrameType, inner: Callable[[], AbstractAsyncContextManager[Any]]
) -> AsyncGenerator[Any, None]:
    """Hold a place for as long as something is taken out of a pool."""
    item = await gate_.take_out(frame)
    try:
        async with inner() as connection:
            item.value = connection
            yield connection
    finally:
        gate_.give_in(item)
        item.value = None  # whoever looks at it later must not keep a connection alive


class GatedPool(_Gated):
    """A pool of asyncpg (`acquire`) or psycopg (`connection`) behind a gate.

    asyncpg's short cuts (`fetch`, `execute`, …) hold a place each. `getconn` of psycopg goes past
    the gate, as nothing says when a place is free again.
    """

    def acquire(self, *, timeout: float | None = None) -> AbstractAsyncContextManager[Any]:
        """Return a block that holds a connection, as `asyncpg.Pool.acquire`."""
        return self._behind(sys._getframe(1), lambda: self._pool.acquire(timeout=timeout))

    def connection(self, timeout: float | None = None) -> AbstractAsyncContextManager[Any]:
        """Return a block that holds a connection, as `psycopg_pool.AsyncConnectionPool.connection`."""
        return self._behind(sys._getframe(1), lambda: self._pool.connection(timeout=timeout))

    def __getattr__(self, name: str) -> Any:
        """Everything else is the pool's own, but for what takes a connection out on the quiet."""
        own = getattr(self._pool, name)
        if name not in _SHORT_CUTS:
            return own

        async def on_a_connection(*words: Any, **options: Any) -> Any:
            async with self._behind(_caller_outside("asyncpg"), self._pool.acquire) as connection:
                return await getattr(connection, name)(*words, **options)

        return on_a_connection


class GatedEngine(_Gated):
    """An `AsyncEngine` of SQLAlchemy behind a gate."""

    def connect(self) -> AbstractAsyncContextManager[Any]:
        """Return a block that holds a connection."""
        return self._behind(sys._getframe(1), self._pool.connect)

    def begin(self) -> AbstractAsyncContextManager[Any]:
        """Return a block that holds a connection, in a transaction."""
        return self._behind(sys._getframe(1), self._pool.begin)

    def session(self, **options: Any) -> AbstractAsyncContextManager[Any]:
        """Return a block that holds an `AsyncSession`, and with it one connection.

        Args:
            **options: of `AsyncSession`.
        """
        from sqlalchemy.ext.asyncio import AsyncSession

        return self._behind(sys._getframe(1), lambda: AsyncSession(self._pool, **options))


class GatedRedisPool(_Gated):
    """A connection pool of redis-py behind a gate; clients take it as theirs."""

    def __init__(self, pool: Any, gate_: Gate) -> None:
        """Put the gate in front of the pool."""
        super().__init__(pool, gate_)
        self._items: dict[int, Item[Any]] = {}

    async def get_connection(self, *words: Any, **options: Any) -> Any:
        """Take a connection, in turn."""
        item = await self.gate.take_out(_caller_outside("redis"))
        try:
            connection = await self._pool.get_connection(*words, **options)
        except BaseException:
            self.gate.give_in(item)
            raise
        item.value = connection
        self._items[id(connection)] = item
        return connection

    async def release(self, connection: Any) -> None:
        """Give a connection back, and its place whatever happens."""
        try:
            await self._pool.release(connection)
        finally:
            item = self._items.pop(id(connection), None)
            if item is not None:
                self.gate.give_in(item)


class GatedTransport(_Gated):
    """An `AsyncHTTPTransport` of httpx behind a gate; a place is held until the response is closed."""

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request once there is a place for it."""
        item = await self.gate.take_out(_caller_outside("httpx", "httpcore"), request.url)
        try:
            response = await self._pool.handle_async_request(request)
        except BaseException:
            self.gate.give_in(item)
            raise
        response.stream = _held_stream()(response.stream, lambda: self.gate.give_in(item))
        return response

    async def __aenter__(self) -> GatedTransport:
        """Open the transport."""
        await self._pool.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        """Close the transport."""
        await self._pool.__aexit__(*error)


@cache
def _held_stream() -> Any:
    """Return a stream for httpx that gives its place in when it is closed; made once."""
    import httpx

    class HeldStream(httpx.AsyncByteStream):
        def __init__(self, stream: Any, give_in: Callable[[], None]) -> None:
            self._stream = stream
            self._give_in = give_in

        async def __aiter__(self) -> AsyncGenerator[bytes, None]:
            async for part in self._stream:
                yield part

        async def aclose(self) -> None:
            try:
                await self._stream.aclose()
            finally:
                self._give_in()

    return HeldStream


def _gated_client(client: Any, gate_: Gate) -> Any:
    """Put a gate in front of the pool of a Redis client."""
    client.connection_pool = GatedRedisPool(client.connection_pool, gate_)
    client.gate = gate_
    return client


def _gated_connector(connector: Any, gate_: Gate) -> Any:
    """Let a connector of aiohttp hand out connections in turn."""
    connect = connector.connect

    async def in_turn(request: Any, *words: Any, **options: Any) -> Any:
        item = await gate_.take_out(_caller_outside("aiohttp"), request.url)
        try:
            connection = await connect(request, *words, **options)
        except BaseException:
            gate_.give_in(item)
            raise
        connection.add_callback(lambda: gate_.give_in(item))
        return connection

    connector.connect = in_turn
    connector.gate = gate_
    return connector


def _caller_outside(*packages: str) -> FrameType:
    """Return the frame that calls a library, to say where something was taken out.

    The library's own frame when its coroutine runs as a task of its own.
    """
    first = sys._getframe(2)
    frame: FrameType | None = first
    while frame is not None:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package == "asyncio":
            return first
        if package not in packages and package != "contextlib":
            return frame
        frame = frame.f_back
    return first


def _engine_size(engine: Any) -> int | None:
    pool = engine.pool
    overflow = getattr(pool, "_max_overflow", 0)
    if not hasattr(pool, "size") or overflow < 0:
        return None
    return int(pool.size()) + int(overflow)


def _transport_size(transport: Any) -> int | None:
    bound = getattr(getattr(transport, "_pool", None), "_max_connections", None)
    return bound if isinstance(bound, int) and bound < sys.maxsize else None


_KINDS: tuple[tuple[str, str, Callable[[Any, Gate], Any], Callable[[Any], int | None]], ...] = (
    ("asyncpg", "Pool", GatedPool, lambda pool: pool.get_max_size()),
    ("psycopg_pool", "AsyncConnectionPool", GatedPool, lambda pool: pool.max_size),
    ("sqlalchemy", "AsyncEngine", GatedEngine, _engine_size),
    ("redis", "Redis", _gated_client, lambda client: client.connection_pool.max_connections),
    ("redis", "ConnectionPool", GatedRedisPool, lambda pool: pool.max_connections),
    ("httpx", "AsyncBaseTransport", GatedTransport, _transport_size),
    ("aiohttp", "BaseConnector", _gated_connector, lambda connector: connector.limit or None),
)
