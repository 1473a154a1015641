"""A heartbeat beside the reader of a connection is cancelled behind the reader, not in a `finally`.

The reader raises, and the heart of a connection that is gone beats on.

Cases: python-mattermost-autodriver#36.
Cure: one group for both, so that neither outlives the other.
"""

from __future__ import annotations

import asyncio

from corpus_stage import Expect, Stage

from backstay import Scope

EXPECT = Expect("ORPHAN", count=3)


async def beat() -> None:
    while True:
        await asyncio.sleep(20)  # leak: waits


async def read() -> None:
    await asyncio.sleep(0)
    raise ConnectionResetError("peer has left")


async def connection() -> None:
    heart = asyncio.create_task(beat())  # leak: spawn
    await read()
    heart.cancel()


async def connection_cured() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(beat())
        await read()


async def leak(stage: Stage) -> None:
    for number in range(3):
        try:
            async with Scope(f"connection {number}", kind="connection"):
                await connection()
        except ConnectionResetError:
            pass


async def fix(stage: Stage) -> None:
    for number in range(3):
        try:
            async with Scope(f"connection {number}", kind="connection"):
                await connection_cured()
        except* ConnectionResetError:
            pass
