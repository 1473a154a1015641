"""A request is entered in a table, and cancelled before it is handed in: the entry stays for good.

The `try` that would take it back begins one `await` too late. The table is never empty again, and whoever waits for that,
the task that drains a session before it goes, waits for good.

Cases: vllm#57061.
Cure: begin the `try` with the entry.
"""

from __future__ import annotations

import asyncio

from corpus_stage import Expect, Stage

EXPECT = Expect("STUCK")

tasks: set[asyncio.Task[None]] = set()


class Session:
    def __init__(self) -> None:
        self.table: dict[int, str] = {}
        self.changed = asyncio.Condition()

    async def ask(self, number: int) -> None:
        self.table[number] = "registered"
        await asyncio.sleep(0)  # serialises the request; a cancel that strikes here ...
        try:
            await asyncio.sleep(3600)  # handed in, and awaited
        finally:
            await self.forget(number)  # ... never comes here

    async def ask_cured(self, number: int) -> None:
        self.table[number] = "registered"
        try:
            await asyncio.sleep(0)
            await asyncio.sleep(3600)
        finally:
            await self.forget(number)

    async def forget(self, number: int) -> None:
        async with self.changed:
            del self.table[number]
            self.changed.notify_all()

    async def drain(self) -> None:
        async with self.changed:
            while self.table:
                await self.changed.wait()  # leak: waits


async def serve(ask: str) -> None:
    session = Session()
    asking = asyncio.create_task(getattr(session, ask)(1))
    await asyncio.sleep(0)
    asking.cancel()  # the client has left
    await asyncio.wait({asking})
    task = asyncio.create_task(session.drain())  # leak: spawn
    tasks.add(task)
    task.add_done_callback(tasks.discard)


async def leak(stage: Stage) -> None:
    await serve("ask")


async def fix(stage: Stage) -> None:
    await serve("ask_cured")
