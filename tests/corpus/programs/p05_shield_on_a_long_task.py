"""Each request shields one task that lives as long as the process, and leaves a callback on it.

No task is left behind; what grows is the list of callbacks inside of one task. (`wait` gives
up after a moment, and the shield's callback on the inner task stays.)

Cases: cpython#79306, cpython#155143, cpython#155854, codex-lb#1968 (100,986 callbacks).
Cure: one shield for all, or wait for an event that the task sets.
"""

from __future__ import annotations

import asyncio

from corpus_stage import Expect, Stage

EXPECT = Expect(
    "GROWING", count=1000, spawn="asyncio/tasks.py _inner_done_callback", waits="", tasks=False
)

LATER = 1.0  # while it goes on


class Service:
    def __init__(self) -> None:
        self.warm_up = asyncio.create_task(self._warm_up())
        self.warm = asyncio.Event()

    async def _warm_up(self) -> None:
        await self.gate()

    async def gate(self) -> None:
        await asyncio.sleep(3600)


services: list[Service] = []


async def request(service: Service) -> None:
    await asyncio.wait({asyncio.shield(service.warm_up)}, timeout=0)


async def leak(stage: Stage) -> None:
    services.append(Service())
    async for _ in stage.rounds(6):
        for _ in range(800):
            await request(services[-1])


async def fix(stage: Stage) -> None:
    services.append(Service())
    async for _ in stage.rounds(6):
        for _ in range(800):
            try:
                async with asyncio.timeout(0):
                    await services[-1].warm.wait()
            except TimeoutError:
                pass
