"""Each way to wait at our own primitives has its name, and says who is waited for."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from backstay.sync import (
    Barrier,
    Cond,
    Event,
    Mutex,
    Once,
    RWMutex,
    Semaphore,
    SingleFlight,
    WaitGroup,
)

Stack = AsyncExitStack


async def beside(stack: Stack, work: Awaitable[object], name: str = "holder") -> None:
    """Let a task do something until the scene is over; return when it has begun."""

    async def does() -> None:
        await work

    task = asyncio.create_task(does(), name=name)
    stack.callback(task.cancel)
    await asyncio.sleep(0)


async def hold(lock: Any) -> None:
    """Hold a lock for ever."""
    async with lock:
        await asyncio.sleep(1_000)


async def mutex_block(stack: Stack) -> None:
    mutex = Mutex("cache")
    await beside(stack, hold(mutex))
    async with mutex:
        pass


async def mutex_by_hand(stack: Stack) -> None:
    mutex = Mutex("cache")
    await beside(stack, hold(mutex))
    await asyncio.wait_for(mutex.lock(), 1_000)


async def reading(stack: Stack) -> None:
    rw = RWMutex("routes")
    await beside(stack, hold(rw.write))
    async with rw.read:
        pass


async def writing(stack: Stack) -> None:
    rw = RWMutex("routes")
    await beside(stack, hold(rw.read))
    async with rw.write:
        pass


async def writing_beside_many(stack: Stack) -> None:
    rw = RWMutex("routes")
    for _ in range(2):
        await beside(stack, hold(rw.read))
    await rw.write.lock()


async def semaphore(stack: Stack) -> None:
    places = Semaphore(3, name="uploads")
    await places.acquire(2)
    async with places.places(2):
        pass


async def condition(stack: Stack) -> None:
    cond = Cond(name="buffer")
    async with cond:
        await cond.wait_for(lambda: False)


async def condition_mutex_again(stack: Stack) -> None:
    cond = Cond(name="buffer")

    async def notifies() -> None:
        async with cond:
            cond.notify()
            await asyncio.sleep(1_000)

    async with cond:
        task = asyncio.create_task(notifies())
        stack.callback(task.cancel)
        await cond.wait()


async def event(stack: Stack) -> None:
    await Event("ready").wait()


async def wait_group(stack: Stack) -> None:
    group = WaitGroup("uploads")
    group.add(3)
    await group.wait()


async def barrier(stack: Stack) -> None:
    await Barrier(3, name="start").wait()


async def once(stack: Stack) -> None:
    connected = Once("connect")
    await beside(stack, connected.do(asyncio.sleep, 1_000), "first")
    await connected.do(asyncio.sleep, 1_000)


async def single_flight(stack: Stack) -> None:
    flight: SingleFlight[str, None] = SingleFlight("prices")
    await beside(stack, flight.do("k", asyncio.sleep, 1_000), "leader")
    await flight.do("k", asyncio.sleep, 1_000)


CASES: list[tuple[Callable[[Stack], Awaitable[None]], str, str, str]] = [
    (mutex_block, "lock", "mutex lock", r"'cache' held by 'holder' for 0\.\d s"),
    (
        mutex_by_hand,
        "lock",
        "mutex lock",
        r"'cache' held by 'holder' for 0\.\d s(, times out in .*)?",
    ),
    (reading, "lock", "rwmutex read lock", r"'routes' held by 'holder' for 0\.\d s"),
    (writing, "lock", "rwmutex write lock", r"'routes' held by 'holder' for 0\.\d s"),
    (writing_beside_many, "lock", "rwmutex write lock", r"'routes' held by 2 readers"),
    (semaphore, "semaphore", "semaphore acquire", r"'uploads' 1 of 3 free"),
    (condition, "condition", "condition wait", r"'buffer'"),
    (condition_mutex_again, "condition", "condition wait: mutex again", r"'buffer'"),
    (event, "event", "event wait", r"'ready'"),
    (wait_group, "event", "wait group", r"'uploads' 3 left"),
    (barrier, "barrier", "barrier wait", r"'start' 1 of 3 have come"),
    (once, "task", "once", r"'connect' run by 'first'"),
    (single_flight, "task", "single flight", r"'prices'"),
]


@pytest.mark.parametrize(
    ("scenario", "kind", "label", "detail"), CASES, ids=lambda value: getattr(value, "__name__", "")
)
def test_label(classify: Any, scenario: Any, kind: str, label: str, detail: str) -> None:
    """A dump names the lock and its holder, and the line of the one who waits."""
    seen = classify(scenario, label)
    assert (seen.kind, seen.label) == (kind, label)
    assert re.fullmatch(detail, seen.detail), seen.detail
    assert seen.site.startswith(f"{__file__}:"), seen.site
