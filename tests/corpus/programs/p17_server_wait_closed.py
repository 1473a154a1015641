"""A server that closes waits for its connections, and an idle handler waits for its client.

From Python 3.12.1 on `Server.wait_closed()` means what it says: it waits until the last connection is gone. A
handler in `readline()` of a kept-alive connection goes only when its client does. No task is dead: what
hangs is the shutdown, and what helps is to name who is left at the end of its budget.

Cases: cpython#104344, cpython#113538, cpython#123720.
Cure: close the connections, or give the handlers a deadline, before waiting.
"""

from __future__ import annotations

import asyncio

from corpus_stage import Expect, Stage

EXPECT = Expect("LEFT OVER")

SINCE = (3, 12)  # before, it returned at once
LOOPS = ("stock",)  # and it does so on uvloop

kept: list[object] = []


async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.readline():
        pass
    writer.close()


async def shut_down(server: asyncio.Server) -> None:
    server.close()
    await server.wait_closed()  # leak: waits


async def leak(stage: Stage) -> None:
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    kept.append(await asyncio.open_connection(*server.sockets[0].getsockname()))
    await stage.settle()
    closing = asyncio.create_task(shut_down(server))  # leak: spawn
    await asyncio.wait({closing}, timeout=0.05)
    stage.left_over([closing])


async def fix(stage: Stage) -> None:
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    await stage.settle()
    closing = asyncio.create_task(shut_down(server))
    writer.close()
    await asyncio.wait({closing}, timeout=5)
    stage.left_over([closing])
