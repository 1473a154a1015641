"""Noticing that a client has left, while the application is busy elsewhere.

ASGI tells of a disconnect only to those who call `receive`, and a handler that
has read its body never does again: it works on for nobody. So the guard calls
`receive` in its place, and hands on whatever is not a disconnect.

It does so only for requests that take longer than a moment (see `_slow`), in the
request's own scope. It holds at most one buffer of
unread body, so an upload is never slurped; while that is full it waits for the
application, and a disconnect is then noticed by reading on. An application that
waits in `receive` itself is told first and is left to decide.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from backstay.errors import ScopeClosed
from backstay.integrations.asgi._answers import Message, Receive
from backstay.tasks import Scope

__all__ = ["DisconnectPump"]

_BUFFER = 64 * 1024  # bytes of unread body held at most, plus one message of the server
_PER_MESSAGE = 256  # counted for each, so that many empty ones are bounded too


class DisconnectPump:
    """The only reader of the server's `receive` from its start on.

    Invariant: every message taken from the server is delivered to the
    application in order, whoever is cancelled meanwhile.
    """

    __slots__ = (
        "_buffer",
        "_error",
        "_gone",
        "_on_disconnect",
        "_over",
        "_readers",
        "_receive",
        "_room",
        "_size",
        "_task",
    )

    def __init__(self, receive: Receive, on_disconnect: Callable[[bool], None]) -> None:
        """Prepare; `on_disconnect(noticed)` is called at most once."""
        self._receive = receive
        self._on_disconnect = on_disconnect
        self._buffer: deque[Message] = deque()
        self._size = 0
        self._gone: Message | None = None  # the disconnect, repeated to whoever asks again
        self._error: Exception | None = None
        self._over = False
        self._readers: deque[asyncio.Future[None]] = deque()
        self._room: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, scope: Scope) -> bool:
        """Begin to read, as a task of the request; return False when it is ending."""
        try:
            self._task = scope.go(self._run)
        except ScopeClosed:
            return False
        self._task.set_name("disconnect-watch")
        return True

    def stop(self) -> None:
        """Read no more."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            while True:
                if self._size >= _BUFFER:
                    self._room = asyncio.get_running_loop().create_future()
                    await self._room
                message = await self._receive()
                if message["type"] == "http.disconnect":
                    self._gone = message
                    self._on_disconnect(bool(self._readers))
                    return
                self._buffer.append(message)
                self._size += len(message.get("body", b"")) + _PER_MESSAGE
                self._wake()
        except Exception as error:  # the server's own failure belongs to whoever reads
            self._error = error
        finally:
            self._over = True
            self._wake()

    def _wake(self) -> None:
        for reader in self._readers:
            if not reader.done():
                reader.set_result(None)

    async def receive(self) -> Message:
        """Return the next message for the application.

        Cancelled: nothing was taken out.
        """
        while True:
            if self._buffer:
                return self._take()
            if self._gone is not None:
                return dict(self._gone)
            if self._error is not None:
                raise self._error
            if self._over:
                return await self._receive()
            reader = asyncio.get_running_loop().create_future()
            self._readers.append(reader)
            try:
                await reader
            finally:
                self._readers.remove(reader)

    def _take(self) -> Message:
        message = self._buffer.popleft()
        self._size -= len(message.get("body", b"")) + _PER_MESSAGE
        if self._room is not None and self._size < _BUFFER:
            if not self._room.done():
                self._room.set_result(None)
            self._room = None
        return message
