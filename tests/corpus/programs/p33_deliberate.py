"""What stays on purpose: a listener for the life of the process, one that says so, and one that is declared.

Nothing may be said of any of them.

Cases: pytest-asyncio#1044, pytest-asyncio#435, ophyd-async#734.
Cure: none is needed; `backstay.forever()` or `leak.expect()` where a detector could not know.
"""

from __future__ import annotations

import asyncio

from corpus_stage import Expect, Stage

import backstay
from backstay import leak as detector

EXPECT: tuple[Expect, ...] = ()


class Bus:
    def __init__(self) -> None:
        self.inbox: asyncio.Queue[str] = asyncio.Queue()


buses: list[Bus] = []
listening: set[asyncio.Task[None]] = set()


async def listen(bus: Bus) -> None:
    while True:
        await bus.inbox.get()


async def declared() -> None:
    await asyncio.Event().wait()


async def leak(stage: Stage) -> None:
    buses.append(Bus())
    detector.expect(function="declared", why="ends with the process")
    listening.add(asyncio.create_task(listen(buses[-1])))
    listening.add(asyncio.create_task(backstay.forever()))
    listening.add(asyncio.create_task(declared()))


async def fix(stage: Stage) -> None:
    await leak(stage)
