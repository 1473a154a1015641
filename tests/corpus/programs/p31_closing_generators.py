"""When a generator is collected, the loop starts a task that closes it. That task is nobody's leak.

It is there for a moment, and gone before anybody looks twice.

Cases: livekit/agents#6790.
Cure: none is needed.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator

from corpus_stage import Expect, Stage

from backstay import Scope

EXPECT: tuple[Expect, ...] = ()


async def rows() -> AsyncIterator[int]:
    try:
        yield 1
        yield 2
    finally:
        await asyncio.sleep(0.001)


async def leak(stage: Stage) -> None:
    async with Scope("test_rows", kind="test"):
        async for _ in rows():
            break
        gc.collect()


async def fix(stage: Stage) -> None:
    await leak(stage)
