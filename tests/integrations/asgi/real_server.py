"""uvicorn in this process on a real socket, and a client that sees raw bytes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import uvicorn

__all__ = ["Reply", "Served", "raw", "request", "serving"]


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Served:
    """A running server."""

    def __init__(self, port: int, server: uvicorn.Server) -> None:
        self.port = port
        self.server = server


@contextlib.asynccontextmanager
async def serving(app: Any, **config: Any) -> AsyncIterator[Served]:
    """Serve `app` on a free port of the loopback until the block ends."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    options = {"log_config": None, "lifespan": "auto", "timeout_graceful_shutdown": 3} | config
    server = _Server(uvicorn.Config(app, **options))

    async def serve() -> None:
        try:
            await server.serve(sockets=[listener])
        except SystemExit:  # how uvicorn says that the start-up failed
            pass

    task = asyncio.create_task(serve())
    while not server.started and not task.done():
        await asyncio.sleep(0.01)
    try:
        yield Served(listener.getsockname()[1], server)
    finally:
        server.should_exit = True
        await task
        listener.close()


class Reply:
    """A reply, taken apart by hand so that a torn one shows."""

    def __init__(self, raw: bytes) -> None:
        head, _, self.rest = raw.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split(" ")[1]) if lines[0] else None
        self.headers = {k.lower(): v.strip() for k, _, v in (x.partition(":") for x in lines[1:])}

    @property
    def complete(self) -> bool:
        """Whether the body ended as HTTP says a body ends."""
        if self.headers.get("transfer-encoding") == "chunked":
            return self.rest.endswith(b"0\r\n\r\n")
        return len(self.rest) == int(self.headers.get("content-length", "-1"))


async def raw(port: int, data: bytes, *, read: bool = True) -> bytes:
    """Send bytes, and read until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    await writer.drain()
    got = await reader.read(-1) if read else b""
    writer.close()
    return got


async def request(
    port: int, path: str, *, method: str = "GET", head: str = "", body: bytes = b""
) -> Reply:
    """Make one request on a connection of its own."""
    lines = f"{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{head}"
    if body:
        lines += f"content-length: {len(body)}\r\n"
    return Reply(await raw(port, lines.encode("latin-1") + b"\r\n" + body))
