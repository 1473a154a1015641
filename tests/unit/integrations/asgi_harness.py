"""A hand-driven ASGI server: the test says what the client does, and sees every message."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
App = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]


class Exchange:
    """One request on a server that behaves as uvicorn does.

    `receive` blocks until the test feeds it, and reports a disconnect once the
    answer is complete, which is the trap for whoever takes that for the client's.
    """

    def __init__(
        self,
        app: App,
        *,
        path: str = "/",
        method: str = "GET",
        headers: list[tuple[str, str]] | None = None,
        kind: str = "http",
        body: bytes | None = b"",
        **extra: Any,
    ) -> None:
        self.scope: dict[str, Any] = {
            "type": kind,
            "path": path,
            "query_string": b"token=secret",
            "headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in headers or []],
            "client": ("192.0.2.7", 4711),
            **extra,
        }
        if kind == "http":
            self.scope["method"] = method
        self._app = app
        self._inbox: deque[Message] = deque()
        self._news = asyncio.Event()
        self._gone = False
        self.sent: list[Message] = []
        self.receiving = 0
        self.taken = 0
        self.complete = False
        self.send_error: BaseException | None = None
        if kind == "http" and body is not None:
            self.feed(body)

    def feed(self, body: bytes, *, more: bool = False) -> None:
        """Let the client send a part of its body."""
        self.push({"type": "http.request", "body": body, "more_body": more})

    def push(self, message: Message) -> None:
        """Let the server deliver any message."""
        self._inbox.append(message)
        self._news.set()

    def disconnect(self) -> None:
        """Let the client leave."""
        self._gone = True
        self._news.set()

    async def receive(self) -> Message:
        self.receiving += 1
        assert self.receiving == 1, "two readers of the server's receive at once"
        try:
            while not self._inbox and not self._gone:
                self._news.clear()
                await self._news.wait()  # cancelled here, nothing has been taken
            if self._gone:
                return {"type": "http.disconnect"}
            self.taken += 1
            return self._inbox.popleft()
        finally:
            self.receiving -= 1

    async def send(self, message: Message) -> None:
        await asyncio.sleep(0)
        if self.send_error is not None:
            raise self.send_error
        self.sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.complete = True
            self.disconnect()

    async def run(self) -> Exchange:
        """Serve the request to its end."""
        await self._app(self.scope, self.receive, self.send)
        return self

    def start(self) -> asyncio.Task[Exchange]:
        """Serve the request in a task, as a server does."""
        return asyncio.get_running_loop().create_task(self.run())

    @property
    def status(self) -> int | None:
        starts = [m for m in self.sent if m["type"].endswith("response.start")]
        assert len(starts) <= 1
        return starts[0]["status"] if starts else None

    @property
    def headers(self) -> dict[str, str]:
        starts = [m for m in self.sent if m["type"].endswith("response.start")]
        return {k.decode(): v.decode() for k, v in starts[0]["headers"]} if starts else {}

    @property
    def body(self) -> bytes:
        return b"".join(m.get("body", b"") for m in self.sent if m["type"].endswith("body"))


def respond(status: int = 200, body: bytes = b"ok") -> list[Message]:
    """The two messages of a plain answer."""
    return [
        {"type": "http.response.start", "status": status, "headers": [(b"x-app", b"1")]},
        {"type": "http.response.body", "body": body},
    ]


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """The smallest application."""
    for message in respond():
        await send(message)
