"""A cancel arrives while a time limit is just being taken back, and is taken for the limit's own.

`wait_for` of old Pythons did so; here a hand-made limit: it cancels its task, catches whatever
cancel comes, and cannot tell whose it was.

Cases: cpython#87555.
Cure: `asyncio.timeout` or `backstay.timeout`, which count whose cancel it was.
"""

from __future__ import annotations

import asyncio

from corpus_stage import Expect, Stage

import backstay

EXPECT = Expect("UNDEAD", count=2)


async def within(seconds: float) -> None:
    task = asyncio.current_task()
    assert task is not None
    timer = asyncio.get_running_loop().call_later(seconds, task.cancel)
    try:
        await asyncio.sleep(3600)  # leak: waits
    except asyncio.CancelledError:
        pass  # the time is up; or somebody wants us to end
    finally:
        timer.cancel()


async def poll() -> None:
    while True:
        await within(60)


async def poll_cured() -> None:
    while True:
        try:
            async with backstay.timeout(60):
                await asyncio.sleep(3600)
        except TimeoutError:
            pass


async def cancelled(stage: Stage, pollers: list[asyncio.Task[None]]) -> None:
    await stage.settle()
    for poller in pollers:
        poller.cancel()
    await stage.settle()


async def leak(stage: Stage) -> None:
    await cancelled(stage, [asyncio.create_task(poll()) for _ in range(2)])  # leak: spawn


async def fix(stage: Stage) -> None:
    await cancelled(stage, [asyncio.create_task(poll_cured()) for _ in range(2)])
