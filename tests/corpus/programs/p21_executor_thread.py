"""A call in a thread of an executor cannot be cancelled: its task is gone, and the thread goes on.

`wait_for` gives up, the future is cancelled, nobody waits any more. The thread does not know of it, and at the end
the interpreter waits for the thread.

Cases: cpython#107505, cpython#111358, backtalk#24, hermes-agent#17428.
Cure: tell the thread to leave, by an event that it looks at, or a time-out of its own.
"""

from __future__ import annotations

import asyncio
import threading

from corpus_stage import Expect, Stage

EXPECT = Expect("HOLDS EXIT", waits="", tasks=False)

ASK = ("jobs",)


def ask_the_device(leave: threading.Event) -> None:
    leave.wait(3600)  # leak: spawn


async def give_up(leave: threading.Event) -> None:
    try:
        async with asyncio.timeout(0.05):
            await asyncio.get_running_loop().run_in_executor(None, ask_the_device, leave)
    except TimeoutError:
        pass


async def leak(stage: Stage) -> None:
    await give_up(threading.Event())


async def fix(stage: Stage) -> None:
    leave = threading.Event()
    await give_up(leave)
    leave.set()
    await stage.settle(0.05)
