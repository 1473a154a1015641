"""A stream of events waits for the next one in `queue.get()`; that its client left shows only when it writes.

Real: `aiohttp`, which does not cancel a handler whose client is gone. The subscriber stays in the
registry of topics, so somebody could still wake it; nobody does, on a quiet topic.

Cases: backend.ai#12686 (1,000 of 1,000 handlers).
Cure: bound the wait and look for the client, or let the server cancel (`handler_cancellation=True`).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from corpus_stage import Expect, Stage

# From Python 3.12 on aiohttp makes its tasks past the loop's factory; then they go by what they run.
CONNECTION, REQUEST = (
    ("connection_made", "start") if sys.version_info < (3, 12) else ("start", "_handle_request")
)

EXPECT = (
    Expect("GROWING", count=20, spawn=f"aiohttp/web_protocol.py {CONNECTION}", waits=""),
    Expect("GROWING", count=20, spawn=f"aiohttp/web_protocol.py {REQUEST}"),
)

topic: set[asyncio.Queue[str]] = set()


async def events(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    inbox: asyncio.Queue[str] = asyncio.Queue()
    topic.add(inbox)
    try:
        while True:
            event = await inbox.get()  # leak: waits
            await response.write(event.encode())
    finally:
        topic.discard(inbox)


@asynccontextmanager
async def serving(**options: bool) -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_get("/events", events)
    runner = web.AppRunner(app, **options)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield runner.addresses[0][1]
    if options:
        await runner.cleanup()  # else it would wait for all of them


async def visit(stage: Stage, port: int) -> None:
    async for _ in stage.rounds(110):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        await stage.settle(0.001)


async def leak(stage: Stage) -> None:
    async with serving() as port:
        await visit(stage, port)


async def fix(stage: Stage) -> None:
    async with serving(handler_cancellation=True) as port:
        await visit(stage, port)
