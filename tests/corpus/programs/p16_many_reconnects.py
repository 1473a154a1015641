"""Every error starts a loop that reconnects, also when one is at it already.

The server is away for a while; each failed send adds a loop, and none ends while the server is away.

Cases: python-socketio#1369, aio-pika#505.
Cure: one owned task that reconnects; errors only wake it.
"""

from __future__ import annotations

import asyncio

from corpus_stage import Expect, Stage

EXPECT = Expect("GROWING", count=20)


class Client:
    def __init__(self) -> None:
        self.reconnecting: set[asyncio.Task[None]] = set()

    def on_error(self) -> None:
        self.reconnecting.add(asyncio.create_task(self._reconnect()))  # leak: spawn

    def on_error_cured(self) -> None:
        if not self.reconnecting:
            self.reconnecting.add(asyncio.create_task(self._reconnect()))

    async def _reconnect(self) -> None:
        while True:
            await asyncio.sleep(0.5)  # leak: waits


clients: list[Client] = []


async def leak(stage: Stage) -> None:
    clients.append(Client())
    async for _ in stage.rounds(110):
        clients[-1].on_error()


async def fix(stage: Stage) -> None:
    clients.append(Client())
    async for _ in stage.rounds(110):
        clients[-1].on_error_cured()
