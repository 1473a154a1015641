"""The wire side of the generator: keep-alive HTTP/1.1 connections, bounded in number.

One callback per reply and no task per request is what keeps the cost low; the
parsing is httptools', the parser of uvicorn (docs/decisions/0005 has the figures).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from backstay._base import now
from backstay.errors import TargetGone, UsageError
from backstay.tasks import Scope

__all__ = ["Connections", "Exchange"]

MAX_BODY_BYTES = 8 * 1024 * 1024
"""Largest reply that is kept; a load run is no place to download more."""

_REUSE_WITHIN_S = 4.0
"""Longest rest after which a connection is used again. Servers close resting ones (uvicorn after
5 s); a request sent into the closing would look like a failure of the service."""


class Exchange:
    """One request and its reply.

    Attributes:
        index: row of the schedule.
        intended_at: intended start on `now()`'s clock.
        payload: the request as bytes.
        is_head: a reply to HEAD announces a body that does not come.
        done: it ended; whoever still holds it must drop it.
    """

    __slots__ = (
        "connection",
        "done",
        "index",
        "intended_at",
        "is_head",
        "on_end",
        "payload",
        "request",
    )

    def __init__(
        self,
        index: int,
        intended_at: float,
        request: Any,
        payload: bytes,
        *,
        is_head: bool,
        on_end: Callable[[Exchange, int | None, bytes, str | None], None],
    ) -> None:
        """Prepare an exchange; `on_end(exchange, status, body, error)` is called exactly once."""
        self.index = index
        self.intended_at = intended_at
        self.request = request
        self.payload = payload
        self.is_head = is_head
        self.on_end = on_end
        self.connection: _Connection | None = None
        self.done = False

    def end(self, status: int | None, body: bytes, error: str | None) -> None:
        """End the exchange unless it has ended already."""
        if not self.done:
            self.done = True
            self.connection = None
            self.on_end(self, status, body, error)

    def give_up(self, error: str) -> None:
        """End it now; a connection that waits for the reply is of no more use and is closed."""
        connection = self.connection
        self.end(None, b"", error)
        if connection is not None:
            connection.discard()


class _Connection(asyncio.Protocol):
    """One keep-alive connection; carries one exchange at a time."""

    def __init__(self, owner: Connections) -> None:
        self._owner = owner
        self._exchange: Exchange | None = None
        self._transport: asyncio.Transport | None = None
        self._parser: Any = owner.new_parser(self)
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._in_body = False  # the reply's head is complete
        self._has_length = False  # ... and it says where the body ends
        self.rests_since = 0.0

    # -- transport side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        self._owner.made(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except Exception:
            self._fail("unexpected")

    def connection_lost(self, exc: Exception | None) -> None:
        exchange = self._exchange
        if exchange is not None and exc is None and self._in_body and not self._has_length:
            self._complete(reusable=False)  # the end of the connection is the end of the body
        elif exchange is not None:
            self._exchange = None
            self._owner.gone(self)
            exchange.end(None, b"", "reset")
        self._owner.gone(self)

    # -- parser side (names fixed by httptools)

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) in (14, 17) and name.lower() in (b"content-length", b"transfer-encoding"):
            self._has_length = True

    def on_headers_complete(self) -> None:
        if self._parser.get_status_code() >= 200:
            self._in_body = True
            if self._exchange is not None and self._exchange.is_head:
                self._complete(reusable=False)

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > MAX_BODY_BYTES:
            self._fail("unexpected")
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._in_body:  # otherwise it was an interim reply, 100 to 199
            self._complete(reusable=self._parser.should_keep_alive())

    # -- owner side

    def start(self, exchange: Exchange) -> None:
        """Send the request; the connection is taken until the reply is complete."""
        assert self._transport is not None
        self._exchange = exchange
        exchange.connection = self
        self._body.clear()
        self._body_bytes = 0
        self._in_body = self._has_length = False
        self._transport.write(exchange.payload)

    @property
    def usable(self) -> bool:
        """True when a request may be sent on it."""
        return self._transport is not None and not self._transport.is_closing()

    def discard(self) -> None:
        """Close it without ceremony and free its place at once."""
        self._exchange = None
        if self._transport is not None:
            self._transport.abort()
        self._owner.gone(self)

    def _complete(self, *, reusable: bool) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is None:  # a reply to a request that was given up, or to none
            self.discard()
            return
        status: int = self._parser.get_status_code()
        body = b"".join(self._body)
        if reusable and self.usable:
            self._owner.rest(self)
        else:
            self.discard()
        exchange.end(status, body, None)

    def _fail(self, error: str) -> None:
        exchange = self._exchange
        self.discard()
        if exchange is not None:
            exchange.end(None, b"", error)


class Connections:
    """At most `limit` keep-alive connections to one address, and the requests that wait for one.

    The connection that rested last is taken first, so that surplus ones grow old
    and are closed. Opening tasks belong to `scope`.

    Invariant: `_size` counts every connection that is open or being opened.
    """

    def __init__(
        self, host: str, port: int, *, limit: int, connect_timeout_s: float, scope: Scope
    ) -> None:
        """Prepare without connecting.

        Raises:
            UsageError: the httptools package is not installed.
        """
        self._host = host
        self._port = port
        self._limit = limit
        self._connect_timeout_s = connect_timeout_s
        self._scope = scope
        self._parser_class = _parser_class()
        self._open: set[_Connection] = set()
        self._resting: list[_Connection] = []
        self._waiting: deque[Exchange] = deque()
        self._opening = 0
        self._closed = False
        self.opened = 0

    def new_parser(self, protocol: asyncio.Protocol) -> Any:
        """Return a reply parser that calls the protocol."""
        return self._parser_class(protocol)

    async def open_first(self, count: int) -> None:
        """Open some connections before the load, so that the first requests do not pay for it.

        Raises:
            TargetGone: nothing listens there.
        """
        for _ in range(min(count, self._limit)):
            self._opening += 1
            try:
                self.rest(await self._connect())
            except OSError as error:
                raise TargetGone(
                    f"nothing listens on {self._host}:{self._port} ({_reason(error)}); "
                    f"start the service first, or check the URL"
                ) from error
            finally:
                self._opening -= 1

    def submit(self, exchange: Exchange) -> bool:
        """Send on a free connection, or as soon as there is one.

        Returns:
            True when every connection was busy and the limit reached, so that it has to wait.
        """
        while self._resting:
            connection = self._resting.pop()
            if connection.usable and now() - connection.rests_since < _REUSE_WITHIN_S:
                connection.start(exchange)
                return False
            connection.discard()
        self._waiting.append(exchange)
        return not self._grow()

    def made(self, connection: _Connection) -> None:
        """Count a connection from the moment it exists."""
        self._open.add(connection)
        self.opened += 1

    def rest(self, connection: _Connection) -> None:
        """Take back a connection that is free: the first waiting request gets it."""
        while self._waiting:
            exchange = self._waiting.popleft()
            if not exchange.done:
                connection.start(exchange)
                return
        connection.rests_since = now()
        self._resting.append(connection)

    def gone(self, connection: _Connection) -> None:
        """Forget a connection; when requests wait, another is opened in its place."""
        if connection in self._open:
            self._open.discard(connection)
            if connection in self._resting:
                self._resting.remove(connection)
            self._replace()

    def close(self) -> None:
        """Close every connection; nothing can be submitted afterwards."""
        self._closed = True
        for connection in tuple(self._open):
            connection.discard()

    def _replace(self) -> None:
        while self._waiting and self._waiting[0].done:
            self._waiting.popleft()
        if self._waiting and not self._closed:
            self._grow()

    def _grow(self) -> bool:
        if len(self._open) + self._opening >= self._limit:
            return False
        self._opening += 1
        self._scope.go(self._open_one)
        return True

    async def _open_one(self) -> None:
        """Open one connection for whoever waits first; its failure is that request's failure."""
        error = "reset"
        try:
            connection = await self._connect()
        except OSError:
            connection = None
            error = "refused"
        finally:
            self._opening -= 1
        if connection is not None and connection.usable:
            self.rest(connection)
        else:  # refused, or accepted and closed at once
            self._fail_first(error)
            self._replace()

    def _fail_first(self, error: str) -> None:
        while self._waiting:
            exchange = self._waiting.popleft()
            if not exchange.done:
                exchange.end(None, b"", error)
                return

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._connect_timeout_s):  # TimeoutError is an OSError
            _, connection = await loop.create_connection(
                lambda: _Connection(self), self._host, self._port
            )
        return connection


def _reason(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return error.strerror or str(error)


def _parser_class() -> Any:
    try:
        from httptools import HttpResponseParser
    except ImportError as error:
        raise UsageError(
            "the load generator needs the package httptools, which is not installed; "
            "install it with: pip install 'backstay[lab]'"
        ) from error
    return HttpResponseParser
