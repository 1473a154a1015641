"""Whoever loses in `wait(FIRST_COMPLETED)` is not cancelled, and nobody has a use for it any more.

A WebSocket handler races what comes in against what is to go out. The client leaves, the reader
ends, the handler returns; the writer waits on for messages of a queue that has gone out of sight.
Real: `websockets`, server and client.

Cases: websockets#34, estuary/connectors#3081.
Cure: cancel those that are pending, or race them in a group that does.
"""

from __future__ import annotations

import asyncio

from corpus_stage import Expect, Stage
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

EXPECT = Expect("LEAKED", count=3)


async def read(socket: ServerConnection) -> None:
    async for _ in socket:
        pass


async def write(socket: ServerConnection, outbox: asyncio.Queue[str]) -> None:
    while True:
        message = await outbox.get()  # leak: waits
        try:
            await socket.send(message)
        except ConnectionClosed:
            return


async def handle(socket: ServerConnection) -> None:
    outbox: asyncio.Queue[str] = asyncio.Queue()
    reader = asyncio.create_task(read(socket))
    writer = asyncio.create_task(write(socket, outbox))  # leak: spawn
    await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)


async def handle_and_cancel(socket: ServerConnection) -> None:
    outbox: asyncio.Queue[str] = asyncio.Queue()
    reader = asyncio.create_task(read(socket))
    writer = asyncio.create_task(write(socket, outbox))
    _, losers = await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
    for loser in losers:
        loser.cancel()


async def visit(stage: Stage, handler: object) -> None:
    async with serve(handler, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for _ in range(3):
            async with connect(f"ws://127.0.0.1:{port}/"):
                await stage.settle()
        await stage.settle()


async def leak(stage: Stage) -> None:
    await visit(stage, handle)


async def fix(stage: Stage) -> None:
    await visit(stage, handle_and_cancel)
