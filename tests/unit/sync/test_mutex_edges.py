"""Mutex at the edges: what it remembers, what it forgets, and who cannot be kept out."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from backstay.sync import Mutex
from backstay.sync._mutex import STARVING_S


async def hold(mutex: Mutex, seconds: float) -> None:
    """Hold a mutex for a while."""
    async with mutex:
        await asyncio.sleep(seconds)


async def held_by(mutex: Mutex, seconds: float = 10.0, name: str = "holder") -> asyncio.Task[None]:
    """Start a task that holds `mutex`, and return once it does."""
    task = asyncio.create_task(hold(mutex, seconds), name=name)
    await asyncio.sleep(0)
    assert mutex.locked()
    return task


async def test_a_task_that_never_waits_cannot_keep_others_out() -> None:
    """Locking and unlocking in a circle stops as soon as somebody has waited for a millisecond."""
    mutex = Mutex()
    got_in = asyncio.Event()

    async def wants_in() -> None:
        async with mutex:
            got_in.set()

    async with mutex:
        task = asyncio.create_task(wants_in())
        await asyncio.sleep(0)
        await asyncio.sleep(STARVING_S * 2)
    turns = 0
    while not got_in.is_set() and turns < 1_000:
        async with mutex:
            turns += 1
    assert turns <= 1
    await task


async def test_handed_over_and_cancelled_with_nobody_behind() -> None:
    """The mutex is free again."""
    mutex = Mutex()
    async with mutex:
        gone = asyncio.create_task(hold(mutex, 0))
        await asyncio.sleep(1)
    assert mutex.locked()  # handed over
    gone.cancel()
    await asyncio.wait([gone])
    assert gone.cancelled()
    assert mutex.try_lock()
    mutex.unlock()


async def test_a_time_limit_around_lock() -> None:
    """`asyncio.timeout` and `wait_for` end the wait and leave nothing behind."""
    mutex = Mutex()
    holder = await held_by(mutex)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await mutex.lock()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(mutex.lock(), 1)
    assert mutex.statistics().waiting == 0
    holder.cancel()
    await asyncio.wait([holder])
    await asyncio.wait_for(mutex.lock(), 1)
    assert mutex.holder().task == asyncio.current_task().get_name()  # type: ignore[union-attr]
    mutex.unlock()


async def test_a_block_may_outlive_the_task_that_entered_it() -> None:
    """An async generator is often left in another task than the one that entered it."""
    mutex = Mutex()

    async def section() -> Any:
        async with mutex:
            yield 1

    generator = section()
    await asyncio.create_task(anext_of(generator))
    waiting = asyncio.create_task(hold(mutex, 0))
    await asyncio.sleep(0)
    await generator.aclose()
    await waiting
    assert not mutex.locked()


async def anext_of(generator: Any) -> None:
    """Take one item of an async generator."""
    await anext(generator)


def test_no_task_is_kept_alive() -> None:
    """After the last unlock the mutex holds no reference to anybody."""
    mutex = Mutex()
    seen: list[weakref.ref[Any]] = []

    async def main() -> None:
        holder = await held_by(mutex, 0.001)
        async with mutex:
            pass
        await holder
        seen.append(weakref.ref(holder))

    asyncio.run(main())
    gc.collect()
    assert seen[0]() is None


async def test_the_offer_finds_nobody() -> None:
    """Whoever was in line was cancelled in the very turn of the offer."""
    mutex = Mutex()
    async with mutex:
        gone = asyncio.create_task(hold(mutex, 0))
        await asyncio.sleep(0)
        gone.cancel()
        behind = asyncio.create_task(hold(mutex, 0))
        await asyncio.sleep(0)
    behind.cancel()
    await asyncio.wait([gone, behind])
    assert not mutex.locked()
