"""What a program of the corpus plays on: its expectations, time that leaps, and small servers.

A program is a module with two coroutines, `leak(stage)` and `fix(stage)`, and `EXPECT`, what the
detectors must say of the first; of the second they must say nothing. The line that starts the
leaking tasks bears the comment ``leak: spawn``, and the line where they wait ``leak: waits``. A program is judged half a minute after it has ended, or as many
seconds as its `LATER` says. Its `ASK` names what else than tasks is asked after: "jobs" in threads that hold up the
exit, "timers" that linger, "generators" that are abandoned; `SINCE` is the Python that it wants, `LOOPS` the loops.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from backstay import leak
from backstay.lifecycle import Leftover, leftovers

__all__ = ["Expect", "LeapingClock", "Stage"]


@dataclass(frozen=True, slots=True)
class Expect:
    """One accusation that must be made."""

    verdict: str
    count: int = 1  # tasks accused; for GROWING at least so many
    spawn: str = "spawn"  # the mark of the guilty line, or where in a library: "aiohttp/x.py f"
    waits: str = "waits"  # the mark of the line where they wait; "" when nobody can tell
    tasks: bool = True  # False: what is counted are no living tasks


class LeapingClock:
    """Time that goes on by itself, and leaps when it is told to: an hour passes at once."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self._ahead

    def wall(self) -> float:
        return time.time() + self._ahead

    def leap(self, seconds: float) -> None:
        self._ahead += seconds


class Stage:
    """What one run of a program is given.

    Attributes:
        sampler: has seen what passed in `rounds`.
        remains: what a shutdown has left, and named.
    """

    def __init__(self, clock: LeapingClock, loop: asyncio.AbstractEventLoop) -> None:
        self._clock = clock
        self._loop = loop
        self.sampler = leak.Sampler(loop, interval=60.0)
        self.remains: list[Leftover] = []

    async def settle(self, seconds: float = 0.01) -> None:
        """Let everything happen that is about to."""
        for _ in range(4):
            await asyncio.sleep(0)
        await asyncio.sleep(seconds)
        await asyncio.sleep(0)

    def leap(self, seconds: float) -> None:
        """Let time pass for everybody who asks Backstay for it; timers of the loop do not notice."""
        self._clock.leap(seconds)
        tracking: Any = getattr(self._loop.get_task_factory(), "_tracking", None)
        tracking.tick[0] = self._clock.monotonic()  # as its slow clock does each second

    def left_over(self, tasks: Iterable[asyncio.Task[None]]) -> None:
        """Name what is alive of `tasks`, as the last lines of a shutdown do."""
        self.remains += leftovers(task for task in tasks if not task.done())

    async def rounds(self, count: int = 60, every: float = 60.0) -> AsyncIterator[int]:
        """Go round `count` times with `every` seconds between, and sample after each time."""
        self.sampler.sample()
        for number in range(count):
            yield number
            await asyncio.sleep(0)
            self.leap(every)
            self.sampler.sample()

    @asynccontextmanager
    async def server(
        self, handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
    ) -> AsyncIterator[int]:
        """Serve connections as long as the block lasts; gives the port."""
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
