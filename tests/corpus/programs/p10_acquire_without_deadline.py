"""Connections are taken and not returned on one path; from then on everybody waits, without a deadline.

The pool is alive and could hand one out, so nothing is proved; requests wait, more and more of them.

Cases: hushh-research#5871 (six hours), asyncpg#547, asyncpg#467.
Cure: return in a `finally`, and bound the wait.
"""

from __future__ import annotations

import asyncio

from corpus_stage import Expect, Stage

import backstay
from backstay import Scope

EXPECT = (Expect("GROWING", count=20), Expect("ORPHAN", count=110))


class Pool:
    def __init__(self, size: int) -> None:
        self.free: asyncio.Queue[object] = asyncio.Queue()
        for _ in range(size):
            self.free.put_nowait(object())


pools: list[Pool] = []  # as long as the process


async def query(pool: Pool) -> None:
    connection = await pool.free.get()  # leak: waits
    await asyncio.sleep(0)
    pool.free.put_nowait(connection)


async def fail(pool: Pool) -> None:
    await pool.free.get()
    raise LookupError("no such row")  # and the connection is not returned


async def requests(stage: Stage, pool: Pool, *, bounded: bool) -> None:
    for _ in range(2):
        try:
            await fail(pool)
        except LookupError:
            pass
    async for number in stage.rounds(110):
        async with Scope(f"GET /{number}", kind="request"):
            await serve(pool, bounded=bounded)
        await stage.settle(0.0)


async def serve(pool: Pool, *, bounded: bool) -> None:
    if bounded:
        try:
            async with backstay.timeout(0.001):
                await query(pool)
        except TimeoutError:
            pass
        return
    answering.add(asyncio.create_task(query(pool)))  # leak: spawn


answering: set[asyncio.Task[None]] = set()


async def leak(stage: Stage) -> None:
    pools.append(Pool(2))
    await requests(stage, pools[-1], bounded=False)


async def fix(stage: Stage) -> None:
    pools.append(Pool(2))
    await requests(stage, pools[-1], bounded=True)
