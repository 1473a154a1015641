"""Ask a process whether it may get traffic, over HTTP or by a bare connection."""

from __future__ import annotations

import asyncio
from pathlib import Path

from backstay.lab.scenario import Readiness

__all__ = ["http_exchange", "is_ready"]


async def is_ready(readiness: Readiness, port: int, timeout: float = 1.0) -> bool:
    """Ask once.

    Args:
        readiness: how to ask.
        port: loopback port of the process.
        timeout: seconds to wait for the answer.
    """
    try:
        if readiness.kind == "tcp":
            async with asyncio.timeout(timeout):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return True
        status, _ = await http_exchange(port, "GET", readiness.path, timeout=timeout)
    except (OSError, TimeoutError, ValueError):
        return False
    return 200 <= status < 300


async def http_exchange(
    address: int | Path, method: str, path: str, body: bytes = b"", *, timeout: float
) -> tuple[int, bytes]:
    """Do one HTTP/1.1 exchange with a loopback port or a unix socket.

    Why by hand: it asks for readiness and statistics and posts faults, and must
    not share a connection pool, a limit or a fate with the load.

    Args:
        address: loopback port, or path of a unix socket.
        method: GET or POST.
        path: starts with a slash.
        body: sent as JSON when not empty.
        timeout: seconds for all of it.

    Returns:
        Status and body.

    Raises:
        OSError: no connection.
        TimeoutError: no answer in time.
        ValueError: the answer is not HTTP.
    """
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    if body or method != "GET":
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    async with asyncio.timeout(timeout):
        if isinstance(address, int):
            reader, writer = await asyncio.open_connection("127.0.0.1", address)
        else:
            reader, writer = await asyncio.open_unix_connection(address)
        try:
            writer.write(head.encode() + b"\r\n" + body)
            await writer.drain()
            return await _read_answer(reader, address)
        finally:
            writer.close()


async def _read_answer(reader: asyncio.StreamReader, address: int | Path) -> tuple[int, bytes]:
    """Read status and body; the body ends where its length says, or with the connection."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise ValueError(f"{address} broke off, or does not speak HTTP") from error
    first, *lines = raw.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
        raise ValueError(f"{address} does not speak HTTP: it answered {first[:40]!r}")
    headers = {
        name.strip().lower(): value.strip()
        for name, colon, value in (line.partition(":") for line in lines)
        if colon
    }
    length = headers.get("content-length", "")
    if length.isdigit():
        try:
            return int(words[1]), await reader.readexactly(int(length))
        except asyncio.IncompleteReadError as error:
            raise ValueError(f"{address} broke off within its answer") from error
    return int(words[1]), await reader.read()
