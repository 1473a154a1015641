"""A websocket connection between the application and the server."""

from __future__ import annotations

from collections.abc import Awaitable

from backstay.integrations.asgi._answers import Message, Receive, Send

__all__ = ["SocketExchange"]


class SocketExchange:
    """Knows how far a websocket has come.

    There is no disconnect watch here: who serves a websocket reads it, and so is
    told by `websocket.disconnect` itself.

    Attributes:
        accepted: the handshake was answered with yes.
        closed: it was closed or denied by us, or left by the client.
    """

    __slots__ = ("_receive", "_send", "accepted", "closed")

    def __init__(self, receive: Receive, send: Send) -> None:
        """Stand between the server's channels and the application."""
        self._receive = receive
        self._send = send
        self.accepted = False
        self.closed = False

    def send(self, message: Message) -> Awaitable[None]:
        """Pass a message on; the application's `send`."""
        kind = message["type"]
        if kind == "websocket.accept":
            self.accepted = True
        elif kind in {"websocket.close", "websocket.http.response.start"}:
            self.closed = True
        return self._send(message)

    async def receive(self) -> Message:
        """Wait for the next message; the application's `receive`."""
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self.closed = True
        return message
