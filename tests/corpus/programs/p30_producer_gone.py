"""A worker waits on a queue of its own, and whoever would put something is gone.

The documented advice, to keep a set of background tasks, keeps these for good: the producer fails,
nobody else knows the queue, and the set holds a task that nothing can wake.

Cases: the first leak of every book on Go, where the sender returns early; own scenarios.
Cure: the producer owns the worker, and tells it the end also when it fails.
"""

from __future__ import annotations

import asyncio

from corpus_stage import Expect, Stage

EXPECT = Expect("STUCK", count=3)

background: set[asyncio.Task[None]] = set()


async def work(inbox: asyncio.Queue[str | None]) -> None:
    while await inbox.get() is not None:  # leak: waits
        pass


async def produce(inbox: asyncio.Queue[str | None]) -> None:
    await inbox.put("first")
    await asyncio.sleep(0)
    raise ConnectionError("the source is gone")


async def serve() -> None:
    inbox: asyncio.Queue[str | None] = asyncio.Queue()
    task = asyncio.create_task(work(inbox))  # leak: spawn
    background.add(task)
    task.add_done_callback(background.discard)
    try:
        await produce(inbox)
    except ConnectionError:
        pass  # logged, and forgotten


async def leak(stage: Stage) -> None:
    for _ in range(3):
        await serve()


async def fix(stage: Stage) -> None:
    for _ in range(3):
        inbox: asyncio.Queue[str | None] = asyncio.Queue()
        async with asyncio.TaskGroup() as group:
            group.create_task(work(inbox))
            try:
                await produce(inbox)
            except ConnectionError:
                pass
            finally:
                inbox.put_nowait(None)
