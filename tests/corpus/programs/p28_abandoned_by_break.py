"""A stream is left by `break`, and something keeps its generator: its clean-up does not run.

Nobody awaits anything, so no task is guilty; what is left is the generator, at its `yield`, with what it has opened.

Cases: cpython#88684, cpython#117536, omnigent#1117.
Cure: `aclosing` around the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from corpus_stage import Expect, Stage

EXPECT = Expect("ABANDONED", count=5, tasks=False)

ASK = ("generators",)

streams: list[AsyncGenerator[int, None]] = []  # for statistics, one day


async def rows() -> AsyncGenerator[int, None]:  # leak: spawn
    try:
        for number in range(100):
            yield number  # leak: waits
    finally:
        await asyncio.sleep(0)  # gives the connection back


def query() -> AsyncGenerator[int, None]:
    stream = rows()
    streams.append(stream)
    return stream


async def first(stream: AsyncGenerator[int, None]) -> int:
    async for row in stream:
        if row == 3:
            break
    return row


async def leak(stage: Stage) -> None:
    for _ in range(5):
        await first(query())


async def fix(stage: Stage) -> None:
    for _ in range(5):
        async with aclosing(query()) as stream:
            await first(stream)
