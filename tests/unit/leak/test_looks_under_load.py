"""Threads that look all the time, at a loop that works: nobody is accused, and nothing breaks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable

import pytest

from backstay import Scope, install
from backstay.leak import deadlocks, keepers, report
from backstay.leak._looks import Looks

LOOKS = 60  # of each thread


async def rows(count: int) -> AsyncGenerator[int]:
    for number in range(count):
        yield number


class Service:
    """Locks, generators, time limits, callbacks: all of it in order."""

    def __init__(self) -> None:
        self.over = False
        self.locks = asyncio.Lock(), asyncio.Lock()
        self.places = asyncio.BoundedSemaphore(2)
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def locking(self) -> None:
        while not self.over:
            async with self.locks[0]:
                await asyncio.sleep(0)
                async with self.locks[1], self.places:
                    await asyncio.sleep(0)

    async def streaming(self) -> None:
        while not self.over:
            async for _ in rows(5):
                await asyncio.sleep(0)

    async def spawning(self) -> None:
        while not self.over:
            async with Scope("job", on_exit="cancel") as scope:
                for _ in range(20):
                    scope.go(asyncio.sleep, 60)
                await asyncio.sleep(0)

    async def registering(self) -> None:
        while not self.over:
            for _ in range(200):
                self.closed.add_done_callback(self.give_up)
            await asyncio.sleep(0)
            self.closed.remove_done_callback(self.give_up)

    async def limited(self) -> None:
        while not self.over:
            try:
                async with asyncio.timeout(0.001):
                    await asyncio.Event().wait()
            except TimeoutError:
                pass

    def give_up(self, _: asyncio.Future[None]) -> None: ...


@pytest.mark.real_loop
async def test_nobody_is_accused_in_traffic() -> None:
    """Reports, deadlocks, looks and keepers, each from a thread of its own."""
    install(exact=True)
    loop = asyncio.get_running_loop()
    service = Service()
    work = [service.locking] * 6 + [service.streaming] * 4
    work += [service.spawning, service.registering, service.limited]
    tasks = [asyncio.create_task(one()) for one in work]
    errors: list[BaseException] = []
    accused: list[object] = []
    looks = Looks()

    def ask(what: Callable[[int], object]) -> None:
        try:
            for number in range(LOOKS):
                found = what(number)
                if found:
                    accused.append(found)
        except BaseException as error:
            errors.append(error)

    def look(number: int) -> object:
        looks.take(loop, 30.0 * number)
        return [*looks.piles, *looks.generators]

    threads = [
        threading.Thread(target=ask, args=[what])
        for what in (
            lambda _: report(None, loop, undead_grace=30.0).findings,
            lambda _: deadlocks(loop),
            look,
            lambda _: keepers(loop).holding and None,
        )
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        await asyncio.sleep(0.001)
    service.over = True
    service.closed.cancel()
    await asyncio.wait(tasks)
    assert errors == []
    assert accused == []
