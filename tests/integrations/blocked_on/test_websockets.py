"""Conformance: what waiting inside the websockets library is called."""

from __future__ import annotations

import contextlib
from typing import Any

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

Stack = contextlib.AsyncExitStack


async def _quiet(connection: Any) -> None:
    await connection.wait_closed()


def test_receive(classify: Any) -> None:
    """A quiet connection waits to receive, by `recv` and by iteration alike."""

    async def call(stack: Stack) -> None:
        server = await stack.enter_async_context(serve(_quiet, "127.0.0.1", 0))
        port = server.sockets[0].getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}", proxy=None) as websocket:
            async for _ in websocket:
                pass

    seen = classify(call, "websocket recv")
    assert (seen.kind, seen.label) == ("socket", "websocket recv")
    assert seen.site.startswith(f"{__file__}:"), seen.site


def test_connect(classify: Any, silent_port: int) -> None:
    """A handshake without an answer is a wait to connect."""

    async def call(stack: Stack) -> None:
        await connect(f"ws://127.0.0.1:{silent_port}", proxy=None)

    seen = classify(call, "websocket connect")
    assert (seen.kind, seen.label) == ("socket", "websocket connect")
