"""A reconnect makes a new client in the place of the old one, whose reader goes on.

Cases: python-socketio#1569.
Cure: close the old one before it is replaced.
"""

from __future__ import annotations

import asyncio

from corpus_stage import Expect, Stage

EXPECT = Expect("GROWING", count=20)


class Client:
    def __init__(self, line: asyncio.Event) -> None:
        self.reader = asyncio.create_task(self._read(line))  # leak: spawn

    async def _read(self, line: asyncio.Event) -> None:
        while True:
            await line.wait()  # leak: waits

    def close(self) -> None:
        self.reader.cancel()


class Session:
    def __init__(self) -> None:
        self.line = asyncio.Event()
        self.client = Client(self.line)

    def reconnect(self) -> None:
        self.client = Client(self.line)


sessions: list[Session] = []


async def leak(stage: Stage) -> None:
    sessions.append(Session())
    async for _ in stage.rounds(110):
        sessions[-1].reconnect()


async def fix(stage: Stage) -> None:
    sessions.append(Session())
    async for _ in stage.rounds(110):
        sessions[-1].client.close()
        sessions[-1].reconnect()
