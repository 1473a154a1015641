"""Each of two tasks holds a connection of a pool of two, and wants a second one.

Neither goes on, and neither gives up what it has.

Cases: asyncpg#5.
Cure: take what is needed at once, or hand the connection down to whoever works inside.
"""

from __future__ import annotations

import asyncio

from corpus_stage import Expect, Stage

EXPECT = Expect("STUCK", count=2)


async def transfer(places: asyncio.Semaphore) -> None:
    async with places:
        await asyncio.sleep(0)
        async with places:  # leak: waits
            pass


async def transfer_once(places: asyncio.Semaphore) -> None:
    async with places:
        await asyncio.sleep(0)


jobs: list[asyncio.Task[None]] = []


async def leak(stage: Stage) -> None:
    places = asyncio.Semaphore(2)
    for _ in range(2):
        jobs.append(asyncio.create_task(transfer(places)))  # leak: spawn


async def fix(stage: Stage) -> None:
    places = asyncio.Semaphore(2)
    for _ in range(2):
        jobs.append(asyncio.create_task(transfer_once(places)))
