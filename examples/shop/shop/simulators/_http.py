"""A small HTTP/1.1 server: httptools parses, a protocol object per connection, no tasks at all.

Why not an ASGI server: a simulator must be able to *not* answer, in three ways that ASGI cannot
express (hold the request, hold the reply, cut the connection), and to hold ten thousand requests
for a few kilobytes each. An ASGI server spends a task and its stack on every one of them.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import cast

import httptools

MAX_BODY_BYTES = 1024 * 1024
# Bytes of a request before its body; servers commonly stop at 8 to 64 KiB.
MAX_HEAD_BYTES = 64 * 1024
# Requests sent ahead on one connection before we stop reading it.
MAX_AHEAD = 16
REASONS = {status.value: status.phrase for status in HTTPStatus}


class Exchange:
    """One request, waiting for its reply. Answer it once: `reply` or `cut`, now or much later."""

    __slots__ = ("_connection", "body", "keep_alive", "method", "path", "query")

    def __init__(
        self, connection: _Connection, method: str, url: str, body: bytes, keep_alive: bool
    ) -> None:
        self._connection: _Connection | None = connection
        self.method = method
        self.path, _, self.query = url.partition("?")
        self.body = body
        self.keep_alive = keep_alive

    @property
    def open(self) -> bool:
        """Whether somebody still waits for the reply."""
        return self._connection is not None

    def reply(
        self, status: int, document: object, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        """Send `document` as JSON; nothing happens when the client is gone."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.answer(self, _encode(status, document, headers, keep_alive=self.keep_alive))

    def cut(self) -> None:
        """Close the connection without a reply."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    def forget_client(self) -> None:
        """The connection is gone: a later `reply` does nothing."""
        self._connection = None


class _Connection(asyncio.Protocol):
    """One client connection. Replies leave in the order of the requests."""

    __slots__ = (
        "_body",
        "_head_bytes",
        "_line",
        "_parser",
        "_paused",
        "_server",
        "_transport",
        "_url",
    )

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._line: deque[Exchange] = deque()  # the first one is being worked on
        self._url = b""
        self._body = b""
        self._head_bytes = 0
        self._paused = False

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the new client."""
        self._transport = cast("asyncio.Transport", transport)
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything that waits here."""
        self._server.connections.discard(self)
        self._transport = None
        line, self._line = self._line, deque()
        for exchange in line:
            exchange.forget_client()
            self._server.on_gone(exchange)

    def data_received(self, data: bytes) -> None:
        """Parse; complete requests come back through the callbacks below."""
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(400, "this server upgrades to no other protocol")
            return
        except httptools.HttpParserError as error:
            self._refuse(400, f"this is not an HTTP request: {error}")
            return
        if self._head_bytes > MAX_HEAD_BYTES and not self._body:
            self._refuse(431, f"the request head is longer than {MAX_HEAD_BYTES} bytes")

    # the parser's side

    def on_message_begin(self) -> None:
        """A request begins."""
        self._url = self._body = b""

    def on_url(self, url: bytes) -> None:
        """The target, perhaps in pieces."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Only one header matters here."""
        if name.lower() == b"expect" and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_headers_complete(self) -> None:
        """The body is limited apart from the head."""
        self._head_bytes = 0

    def on_body(self, body: bytes) -> None:
        """The body, perhaps in pieces."""
        self._body += body
        self._head_bytes = 0
        if len(self._body) > MAX_BODY_BYTES:
            self._body = b""
            self._refuse(413, f"the body is longer than {MAX_BODY_BYTES} bytes")

    def on_message_complete(self) -> None:
        """A request is complete: work on it, or let it stand in line."""
        if self._transport is None or self._transport.is_closing():
            return
        method = self._parser.get_method().decode("ascii", "replace")
        url = self._url.decode("ascii", "replace")
        exchange = Exchange(self, method, url, self._body, self._parser.should_keep_alive())
        self._url = self._body = b""
        self._head_bytes = 0
        self._line.append(exchange)
        if len(self._line) == 1:
            self._server.on_request(exchange)
        elif len(self._line) >= MAX_AHEAD:
            self._paused = True
            self._transport.pause_reading()

    # the exchange's side

    def answer(self, exchange: Exchange, payload: bytes) -> None:
        """Write a reply and go on to the next request in line."""
        if self._transport is None or not self._line or self._line[0] is not exchange:
            return
        self._line.popleft()
        self._transport.write(payload)
        if not exchange.keep_alive:
            self._transport.close()
            return
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        if self._line:
            # Not from here: a long line of instant replies would grow the stack.
            asyncio.get_running_loop().call_soon(self._next)

    def abort(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()

    def _next(self) -> None:
        if self._line and self._line[0].open:
            self._server.on_request(self._line[0])

    def _refuse(self, status: int, why: str) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(_encode(status, {"error": why}, (), keep_alive=False))
            self._transport.close()


class HttpServer:
    """Listens, and hands each request to `on_request`.

    Args:
        on_request: called with each complete request; must answer it, or arrange for that.
        on_gone: called when the client of an unanswered request went away.
    """

    def __init__(
        self, on_request: Callable[[Exchange], None], on_gone: Callable[[Exchange], None]
    ) -> None:
        self.on_request = on_request
        self.on_gone = on_gone
        self.connections: set[_Connection] = set()

    def connect(self) -> asyncio.Protocol:
        """A protocol for one new connection (the factory for `create_server`)."""
        return _Connection(self)

    def cut_all(self) -> None:
        """Cut every open connection."""
        for connection in list(self.connections):
            connection.abort()


def _encode(
    status: int, document: object, headers: tuple[tuple[str, str], ...], *, keep_alive: bool
) -> bytes:
    body = json.dumps(document, separators=(",", ":")).encode()
    head = (
        f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}\r\ncontent-type: application/json\r\n"
    )
    for name, value in headers:
        head += f"{name}: {value}\r\n"
    if not keep_alive:
        head += "connection: close\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
