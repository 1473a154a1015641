"""`connection_lost` forgets those who wait for an answer.

A protocol keeps a future for each request on its way. The peer hangs up, the protocol is let go, and
the futures with it; whoever waits for one waits for good. A miniature of a client's protocol, on a real
socket.

Cases: grpclib#8, aiohttp#4415.
Cure: fail what is pending when the connection is lost.
"""

from __future__ import annotations

import asyncio

from corpus_stage import Expect, Stage

EXPECT = Expect("STUCK", count=3)


class Protocol(asyncio.Protocol):
    tells = False

    def __init__(self) -> None:
        self.pending: list[asyncio.Future[bytes]] = []

    def ask(self) -> asyncio.Future[bytes]:
        self.pending.append(asyncio.get_running_loop().create_future())
        return self.pending[-1]

    def connection_lost(self, error: Exception | None) -> None:
        if self.tells:
            for future in self.pending:
                future.set_exception(ConnectionResetError("peer has left"))


class TellingProtocol(Protocol):
    tells = True


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


asking: list[asyncio.Task[None]] = []


async def ask(protocol: Protocol) -> None:
    answer = protocol.ask()
    try:
        await answer  # leak: waits
    except ConnectionResetError:
        pass


async def visit(stage: Stage, kind: type[Protocol]) -> None:
    loop = asyncio.get_running_loop()
    async with stage.server(hang_up) as port:
        for _ in range(3):
            _, protocol = await loop.create_connection(kind, "127.0.0.1", port)
            asking.append(asyncio.create_task(ask(protocol)))  # leak: spawn
            del protocol, _
        await stage.settle(0.05)


async def leak(stage: Stage) -> None:
    await visit(stage, Protocol)


async def fix(stage: Stage) -> None:
    await visit(stage, TellingProtocol)
