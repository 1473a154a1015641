"""`except Exception` or a bare `except` around an await takes the cancel for one more failure.

The loop goes on; whoever asked it to end waits, or believes that it has.

Cases: mcp-context-forge#2163 (21 places), aiorun#77, langflow#6625.
Cure: catch what can fail, and let CancelledError pass.
"""

from __future__ import annotations

import asyncio

from corpus_stage import Expect, Stage

EXPECT = Expect("UNDEAD", count=2)


async def poll() -> None:
    while True:
        try:
            await asyncio.sleep(3600)  # leak: waits
        except BaseException:
            continue


async def poll_and_end() -> None:
    while True:
        try:
            await asyncio.sleep(3600)
        except OSError:
            continue


async def leak(stage: Stage) -> None:
    pollers = [asyncio.create_task(poll()) for _ in range(2)]  # leak: spawn
    await stage.settle()
    for poller in pollers:
        poller.cancel()
    await stage.settle()


async def fix(stage: Stage) -> None:
    pollers = [asyncio.create_task(poll_and_end()) for _ in range(2)]
    await stage.settle()
    for poller in pollers:
        poller.cancel()
    await stage.settle()
