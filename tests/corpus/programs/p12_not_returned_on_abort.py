"""A connection is taken before the block that would return it; a cancel in between keeps it out for good.

With each request that is cancelled at that moment there is one connection less; once all are out, a
request waits for good, and each of them is one more.

Cases: asyncpg#1324, kdcube#245, channels_redis#279.
Cure: take and return in one block that knows of cancels; a `Pool` names the owner of what is out.
"""

from __future__ import annotations

import asyncio

from corpus_stage import Expect, Stage

EXPECT = Expect("GROWING", count=20)


class Pool:
    def __init__(self) -> None:
        self.free = asyncio.Semaphore(3)


pools: list[Pool] = []
tasks: set[asyncio.Task[None]] = set()


async def listen(pool: Pool) -> None:
    await pool.free.acquire()  # leak: waits
    await asyncio.sleep(0)  # sets the connection up; a cancel that strikes here ...
    try:
        await asyncio.sleep(3600)
    finally:
        pool.free.release()  # ... never comes here


async def listen_cured(pool: Pool) -> None:
    async with pool.free:
        await asyncio.sleep(0)
        await asyncio.sleep(3600)


def start(work: object, pool: Pool) -> asyncio.Task[None]:
    task = asyncio.create_task(work(pool))  # leak: spawn
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task


async def abort_some(work: object, pool: Pool) -> None:
    for _ in range(3):
        task = start(work, pool)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)


async def leak(stage: Stage) -> None:
    pools.append(Pool())
    await abort_some(listen, pools[-1])
    async for _ in stage.rounds(110):
        start(listen, pools[-1])


async def fix(stage: Stage) -> None:
    pools.append(Pool())
    await abort_some(listen_cured, pools[-1])
    async for _ in stage.rounds(110):
        task = start(listen_cured, pools[-1])
        await stage.settle(0.0)
        task.cancel()
        await asyncio.sleep(0)
