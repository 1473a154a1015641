"""A door for readiness probes in a process that serves nobody else: the fulfilment consumer.

Not a web server: whatever is asked, the answer is that the process is up, and the connection ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nready\n"
_PATIENCE_S = 2.0


@asynccontextmanager
async def readiness_door(address: str) -> AsyncGenerator[None, None]:
    """Answer probes while the block runs.

    Args:
        address: host:port; empty for no door.

    Raises:
        OSError: the address is taken.
    """
    if not address:
        yield
        return
    host, _, port = address.rpartition(":")
    server = await asyncio.start_server(_answer, host, int(port), limit=8_192)
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(_ANSWER)
            await writer.drain()
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass  # a probe that went away, or no probe at all
    finally:
        writer.close()
