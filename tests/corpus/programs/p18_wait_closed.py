"""A task waits for a connection to be closed, and the future that would tell it has been let go.

A miniature of `StreamWriter.wait_closed()` on a transport that never calls `connection_lost`.

Cases: cpython#83939.
Cure: bound the wait.
"""

from __future__ import annotations

import asyncio

from corpus_stage import Expect, Stage

import backstay

EXPECT = Expect("STUCK", count=2)


class Connection:
    def __init__(self) -> None:
        self.closed = asyncio.get_running_loop().create_future()

    async def wait_closed(self) -> None:
        await self.closed  # leak: waits


closing: set[asyncio.Task[None]] = set()


async def bounded(connection: Connection) -> None:
    try:
        async with backstay.timeout(0.001):
            await connection.wait_closed()
    except TimeoutError:
        pass


async def close(connection: Connection) -> None:
    await connection.wait_closed()


async def leak(stage: Stage) -> None:
    for _ in range(2):
        closing.add(asyncio.create_task(close(Connection())))  # leak: spawn


async def fix(stage: Stage) -> None:
    for _ in range(2):
        closing.add(asyncio.create_task(bounded(Connection())))
