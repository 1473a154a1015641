"""A queue is polled with a time limit, and each poll leaves a getter behind.

`wait` does not cancel what it gave up on: the task of each round stays in line for an item, and when one comes, the
oldest of them takes it, and nobody looks.

Cases: cpython#75801, cpython#76755, aiortc#17.
Cure: a time limit around the `get` itself, which leaves the line when it is over.
"""

from __future__ import annotations

import asyncio

from corpus_stage import Expect, Stage

EXPECT = Expect("GROWING", count=20, waits="")  # inside of asyncio: no line of ours

queues: list[asyncio.Queue[str]] = []


async def poll(queue: asyncio.Queue[str]) -> None:
    getting = asyncio.create_task(queue.get())  # leak: spawn
    await asyncio.wait({getting}, timeout=0)


async def poll_cured(queue: asyncio.Queue[str]) -> None:
    try:
        async with asyncio.timeout(0):
            await queue.get()
    except TimeoutError:
        pass


async def leak(stage: Stage) -> None:
    queues.append(asyncio.Queue())
    async for _ in stage.rounds(110):
        await poll(queues[-1])


async def fix(stage: Stage) -> None:
    queues.append(asyncio.Queue())
    async for _ in stage.rounds(110):
        await poll_cured(queues[-1])
