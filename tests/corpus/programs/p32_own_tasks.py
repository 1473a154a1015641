"""The detector has tasks and timers of its own, and does not accuse them.

Cases: pyleak#14.
Cure: none is needed.
"""

from __future__ import annotations

import asyncio

from corpus_stage import Expect, Stage

from backstay import leak as detector
from backstay.guard import Pool

EXPECT: tuple[Expect, ...] = ()


async def connect() -> object:
    return object()


async def leak(stage: Stage) -> None:
    pool = Pool(connect, max_open=2, idle_time=60.0)
    with detector.Interceptor(every=0.005), detector.SpawnCaps(100, every=0.005):
        async with pool, pool.take():
            await stage.settle(0.05)
    assert asyncio.current_task() is not None


async def fix(stage: Stage) -> None:
    await leak(stage)
