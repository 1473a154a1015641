"""A test starts a poller through the code that it tests, and ends without ending it.

The poller goes on under the next test, which is then blamed for what it does.

Cases: caura#869 (361 tasks of 135 tests), home-assistant/core#88957, ophyd-async#519.
Cure: close what was opened; here the scope of the test stands for the fixture that does.
"""

from __future__ import annotations

import asyncio

from corpus_stage import Expect, Stage

from backstay import Scope

EXPECT = Expect("ORPHAN", count=4)


class Device:
    def __init__(self) -> None:
        self.polling: asyncio.Task[None] | None = None

    def connect(self) -> None:
        self.polling = asyncio.create_task(self._poll())  # leak: spawn

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(10)  # leak: waits

    def close(self) -> None:
        assert self.polling is not None
        self.polling.cancel()


async def leak(stage: Stage) -> None:
    for number in range(4):
        async with Scope(f"test_{number}", kind="test"):
            Device().connect()
            await stage.settle()


async def fix(stage: Stage) -> None:
    for number in range(4):
        async with Scope(f"test_{number}", kind="test"):
            device = Device()
            device.connect()
            await stage.settle()
            device.close()
