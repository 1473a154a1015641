"""A lock of one's own hands itself to the first in line, who is cancelled in that very turn.

The lock is free, and the others in line are never told. Here it lives in a module, so that
somebody could still wake them: they pile up, one for each request.

Cases: cpython#90155, anyio#1145.
Cure: whoever is given the lock and cannot take it hands it on; a lock from a library does.
"""

from __future__ import annotations

import asyncio
from collections import deque

from corpus_stage import Expect, Stage

EXPECT = Expect("GROWING", count=20)


class Lock:
    def __init__(self) -> None:
        self.locked = False
        self.line: deque[asyncio.Future[None]] = deque()

    async def acquire(self) -> None:
        if self.locked or self.line:
            turn = asyncio.get_running_loop().create_future()
            self.line.append(turn)
            await turn  # leak: waits
            self.line.remove(turn)
        self.locked = True

    def release(self) -> None:
        self.locked = False
        if self.line and not self.line[0].done():
            self.line[0].set_result(None)


locks: list[Lock] = []
tasks: set[asyncio.Task[None]] = set()


async def request(lock: Lock | asyncio.Lock) -> None:
    await lock.acquire()
    lock.release()


async def cancelled_at_its_turn(lock: Lock | asyncio.Lock, stage: Stage) -> None:
    await lock.acquire()
    first = asyncio.create_task(request(lock))
    await stage.settle(0.0)
    lock.release()  # it is its turn ...
    first.cancel()  # ... and it does not come to take it
    await stage.settle(0.0)


async def leak(stage: Stage) -> None:
    locks.append(Lock())
    await cancelled_at_its_turn(locks[-1], stage)
    async for _ in stage.rounds(110):
        tasks.add(asyncio.create_task(request(locks[-1])))  # leak: spawn


async def fix(stage: Stage) -> None:
    lock = asyncio.Lock()
    await cancelled_at_its_turn(lock, stage)
    async for _ in stage.rounds(110):
        task = asyncio.create_task(request(lock))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
