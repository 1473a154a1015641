"""A server closes, and the handlers of its connections go on.

`Server.close()` stops accepting; whoever is being served is nobody's. Real: `asyncio.start_server`.

Cases: aiohttp#7551, opcua-asyncio#98.
Cure: a scope for the connections, left before the server is done.
"""

from __future__ import annotations

import asyncio

from corpus_stage import Expect, Stage

from backstay import Scope

EXPECT = Expect("ORPHAN", count=2, spawn="corpus/programs/p20_handlers_at_exit.py serve_connection")


async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(100)  # leak: waits
    while True:
        await asyncio.sleep(1)


clients: list[asyncio.StreamWriter] = []


async def connect(stage: Stage, port: int) -> None:
    for _ in range(2):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        clients.append(writer)
    await stage.settle(0.02)


async def leak(stage: Stage) -> None:
    async with Scope("server", kind="service"), stage.server(serve_connection) as port:
        await connect(stage, port)


async def fix(stage: Stage) -> None:
    writers: list[asyncio.StreamWriter] = []
    async with Scope("server", kind="service", on_exit="cancel") as scope:

        async def owned(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            scope.go(serve_connection, reader, writer)

        async with stage.server(owned) as port:
            await connect(stage, port)
        for end in (*clients, *writers):
            end.close()
            await end.wait_closed()
