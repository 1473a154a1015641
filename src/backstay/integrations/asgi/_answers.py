"""The few answers that the guard gives in the application's place: small, plain, final."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from math import ceil
from typing import Any

__all__ = ["App", "Message", "Receive", "Send", "answer", "answer_websocket", "retry_after_header"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

Headers = tuple[tuple[bytes, bytes], ...]


def retry_after_header(seconds: float) -> tuple[bytes, bytes]:
    """Write `Retry-After`, which knows whole seconds only."""
    return (b"retry-after", str(ceil(seconds)).encode())


async def answer(send: Send, status: int, text: str, headers: Headers = ()) -> None:
    """Send a complete plain-text answer of one line."""
    body = f"{text}\n".encode()
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", b"text/plain; charset=utf-8"),
                (b"content-length", str(len(body)).encode()),
                (b"cache-control", b"no-store"),
                (b"x-content-type-options", b"nosniff"),
                *headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def answer_websocket(
    scope: MutableMapping[str, Any], send: Send, status: int, text: str, headers: Headers = ()
) -> None:
    """Refuse a websocket that has not been accepted yet.

    With the `websocket.http.response` extension the client sees the status and
    the reason; without it ASGI only knows closing, which servers show as 403.
    """
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": 1013, "reason": text[:120]})
        return

    async def translate(message: Message) -> None:
        await send({**message, "type": "websocket." + message["type"]})

    await answer(translate, status, text, headers)
