"""A component is closed, and the timer that it set comes round all the same, again and again.

No task: a callback that sets itself anew. It keeps the component, and works on what is closed.

Cases: home-assistant/core#89292, home-assistant/core#99472.
Cure: keep the handle, and cancel it when closing.
"""

from __future__ import annotations

import asyncio

from corpus_stage import Expect, Stage

EXPECT = Expect("LINGERS", waits="", tasks=False)

ASK = ("timers",)


class Poller:
    def __init__(self) -> None:
        self.closed = False
        self.refresh()

    def refresh(self) -> None:  # leak: spawn
        self.handle = asyncio.get_running_loop().call_later(60.0, self.refresh)

    def close(self) -> None:
        self.closed = True

    def close_cured(self) -> None:
        self.closed = True
        self.handle.cancel()


async def leak(stage: Stage) -> None:
    Poller().close()


async def fix(stage: Stage) -> None:
    Poller().close_cured()
