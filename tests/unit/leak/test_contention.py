"""Who waits for a lock and who has it; joins are no contention, and nobody is kept alive by being looked at."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

import backstay
from backstay.leak import contention
from backstay.observe.profile._mutex import MutexSampler


async def hold(lock: Any, until: asyncio.Event) -> None:
    """Be in the block of a lock."""
    async with lock:
        await until.wait()


@pytest.mark.parametrize("make", [asyncio.Lock, backstay.Mutex])
async def test_a_waiter_is_told_with_the_holder(make: Any) -> None:
    """And whoever only waits for the end of another is not."""
    backstay.install()
    until, lock = asyncio.Event(), make()
    async with backstay.Scope("s") as scope:
        holder = scope.go(hold, lock, until)
        await asyncio.sleep(0)
        waiter = scope.go(hold, lock, until)

        async def join() -> None:
            async with asyncio.timeout(60):
                await asyncio.wait([waiter])

        scope.go(join)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert contention(asyncio.get_running_loop()) == [(waiter, (holder,))]
        until.set()
    assert contention(asyncio.get_running_loop()) == []


async def test_the_delay_is_divided_among_the_holders_and_a_contention_counted_once() -> None:
    """Two hold the places of a semaphore, one waits: a second of its time is half a second for each of them."""
    backstay.install()
    until, lock = asyncio.Event(), backstay.Semaphore(2)
    sampler = MutexSampler()
    async with backstay.Scope("s") as scope:
        for _ in range(3):
            scope.go(hold, lock, until)
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        sampler.look(1.0)
        sampler.look(1.0)
        until.set()
    ((_, labels), (contentions, delay)) = next(iter(sampler.table.items()))
    assert len(sampler.table) == 1, "both stand at the same line"
    assert (contentions, delay) == (2, 2_000_000_000)
    assert dict(labels)["contended"] == "semaphore acquire"


async def test_a_look_keeps_no_task_alive() -> None:
    """The sampler has names and numbers."""
    backstay.install()
    until, lock = asyncio.Event(), backstay.Mutex()
    sampler = MutexSampler()
    async with backstay.Scope("s") as scope:
        tasks = [scope.go(hold, lock, until) for _ in range(2)]
        watched = [weakref.ref(task) for task in tasks]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        sampler.look(1.0)
        until.set()
    assert sampler.table
    del tasks, scope
    gc.collect()
    assert [ref() for ref in watched] == [None, None]
