"""A broker drops the queue of a slow subscriber, and its reader is never told.

After that nobody knows the queue but the reader, which waits for its next message. Real: `aiohttp`, a
stream of events whose clients are connected all the time, and hear nothing more.

Cases: claudewatch#43, sse-starlette#209.
Cure: whoever drops a subscriber tells it: with a last message, or by ending its task.
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
    Expect("STUCK", count=3, spawn=f"aiohttp/web_protocol.py {CONNECTION}", waits=""),
    Expect("LEAKED", count=3, spawn=f"aiohttp/web_protocol.py {REQUEST}"),
)

END = None


class Broker:
    def __init__(self, *, tell: bool) -> None:
        self.tell = tell
        self.subscribers: list[asyncio.Queue[str | None]] = []

    def publish(self, message: str) -> None:
        for inbox in [*self.subscribers]:
            try:
                inbox.put_nowait(message)
            except asyncio.QueueFull:
                self.subscribers.remove(inbox)
                if self.tell:
                    inbox.get_nowait()
                    inbox.put_nowait(END)


async def events(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    inbox: asyncio.Queue[str | None] = asyncio.Queue(maxsize=2)
    request.app[BROKER].subscribers.append(inbox)
    while (message := await inbox.get()) is not END:  # leak: waits
        await response.write(message.encode())
    return response


BROKER = web.AppKey("BROKER", Broker)


@asynccontextmanager
async def serving(broker: Broker) -> AsyncIterator[int]:
    app = web.Application()
    app[BROKER] = broker
    app.router.add_get("/events", events)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield runner.addresses[0][1]
    if broker.tell:
        for client in clients:
            client.close()
        await runner.cleanup()  # else it would wait for all of them


clients: list[asyncio.StreamWriter] = []


async def visit(stage: Stage, broker: Broker, port: int) -> None:
    for _ in range(3):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        clients.append(writer)
    await stage.settle()
    for number in range(4):  # a burst: quicker than anybody reads
        broker.publish(f"message {number}")
    await stage.settle()


async def leak(stage: Stage) -> None:
    broker = Broker(tell=False)
    async with serving(broker) as port:
        await visit(stage, broker, port)


async def fix(stage: Stage) -> None:
    broker = Broker(tell=True)
    async with serving(broker) as port:
        await visit(stage, broker, port)
