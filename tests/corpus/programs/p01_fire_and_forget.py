"""A task that nobody holds is collected while it waits.

The loop knows its tasks only weakly. When the task and what it waits for refer to nothing but each
other, they are garbage: half of the work is done, the other half never will be.

Cases: cpython#91887, litellm#5559, electrum#9608, quart#339.
Cure: hold the task, or start it in a scope, which holds it and ends it.
"""

from __future__ import annotations

import asyncio
import gc

from corpus_stage import Expect, Stage

from backstay import Scope

EXPECT = Expect("LOST", count=3, waits="")


async def store(answers: asyncio.Queue[str]) -> None:
    await answers.get()


async def log_request() -> None:
    asyncio.create_task(store(asyncio.Queue()))  # leak: spawn


async def leak(stage: Stage) -> None:
    for _ in range(3):
        await log_request()
    await stage.settle()
    gc.collect()
    await stage.settle()


async def fix(stage: Stage) -> None:
    async with Scope("log") as scope:
        for _ in range(3):
            answers: asyncio.Queue[str] = asyncio.Queue()
            scope.go(store, answers)
            await stage.settle()
            gc.collect()
            answers.put_nowait("stored")
