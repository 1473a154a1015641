"""The cases of Go's extended library for semaphores, single flights and error groups.

Ported as cases, not as code, from `golang.org/x/sync` (BSD-3): `semaphore`,
`singleflight`, `errgroup`; each docstring names its origin.
"""

from __future__ import annotations

import asyncio

import pytest

from backstay import Scope
from backstay.errors import FullError, SyncMisuse
from backstay.sync import Semaphore, SingleFlight

from .loops import assert_blocks, on_each_loop, turns

# -- x/sync/semaphore ---------------------------------------------------------------------------------


@on_each_loop
async def test_weighted_hammer() -> None:
    """TestWeighted: tasks of every weight take and give back, never more than there is."""
    size = 10
    semaphore = Semaphore(size)
    taken = 0

    async def worker(weight: int) -> None:
        nonlocal taken
        for _ in range(20):
            await semaphore.acquire(weight)
            taken += weight
            assert taken <= size
            await asyncio.sleep(0)
            taken -= weight
            semaphore.release(weight)

    await asyncio.gather(*(worker(1 + n % size) for n in range(12)))
    assert semaphore.free == size


@on_each_loop
async def test_weighted_panic() -> None:
    """TestWeightedPanic: more given back than taken."""
    with pytest.raises(SyncMisuse):
        Semaphore(1).release(1)


@on_each_loop
async def test_weighted_try_acquire() -> None:
    """TestWeightedTryAcquire: the same course of tries."""
    semaphore = Semaphore(2)
    tries = [semaphore.try_acquire(1), semaphore.try_acquire(1), semaphore.try_acquire(1)]
    semaphore.release(2)
    tries.append(semaphore.try_acquire(1))
    tries.append(semaphore.try_acquire(2))
    assert tries == [True, True, False, True, False]


@on_each_loop
async def test_weighted_acquire() -> None:
    """TestWeightedAcquire: waits that time out have taken nothing."""
    semaphore = Semaphore(2)

    async def attempt(weight: int) -> bool:
        try:
            async with asyncio.timeout(0.005):
                await semaphore.acquire(weight)
        except TimeoutError:
            return False
        return True

    tries = [await attempt(1), await attempt(1), await attempt(1)]
    semaphore.release(2)
    tries.append(await attempt(1))
    tries.append(await attempt(2))
    assert tries == [True, True, False, True, False]


@on_each_loop
async def test_weighted_does_not_block_if_too_big() -> None:
    """TestWeightedDoesntBlockIfTooBig: an impossible request holds nobody up (here it is refused)."""
    semaphore = Semaphore(2)
    with pytest.raises(ValueError, match="2 places"):
        await semaphore.acquire(3)
    await asyncio.gather(*(semaphore.acquire(1) for _ in range(2)))


@on_each_loop
async def test_large_acquire_does_not_starve() -> None:
    """TestLargeAcquireDoesntStarve: small ones that keep coming do not keep a large one out."""
    size = 5
    semaphore = Semaphore(size)
    running = True

    async def small() -> None:
        while running:
            await semaphore.acquire(1)
            await asyncio.sleep(0)
            semaphore.release(1)

    tasks = [asyncio.create_task(small()) for _ in range(size)]
    await turns()
    await semaphore.acquire(size)
    running = False
    semaphore.release(size)
    await asyncio.gather(*tasks)


@on_each_loop
async def test_cancelled_acquire_does_not_starve_the_next() -> None:
    """TestAllocCancelDoesntStarve: a large request that gives up lets the small one behind it through."""
    semaphore = Semaphore(10)
    await semaphore.acquire(1)
    large = asyncio.create_task(semaphore.acquire(10))
    await turns()
    small = asyncio.create_task(semaphore.acquire(1))
    await turns()
    large.cancel()
    await small


# -- x/sync/singleflight ---------------------------------------------------------------------------------


@on_each_loop
async def test_singleflight_do() -> None:
    """TestDo, TestDoErr: the value or the error of the call."""
    flight: SingleFlight[str, str] = SingleFlight()

    async def bar() -> str:
        return "bar"

    async def fails() -> str:
        raise OSError("some error")

    assert await flight.do("key", bar) == "bar"
    with pytest.raises(OSError, match="some error"):
        await flight.do("key", fails)


@on_each_loop
async def test_singleflight_suppresses_duplicates() -> None:
    """TestDoDupSuppress: ten ask at the same time, one call is made."""
    flight: SingleFlight[str, str] = SingleFlight()
    calls = 0
    answer = asyncio.Event()

    async def slow() -> str:
        nonlocal calls
        calls += 1
        await answer.wait()
        return "bar"

    tasks = [asyncio.create_task(flight.do("key", slow)) for _ in range(10)]
    await turns()
    answer.set()
    assert await asyncio.gather(*tasks) == ["bar"] * 10
    assert calls == 1


@on_each_loop
async def test_singleflight_forget() -> None:
    """TestForget: after it, the next call is a new one, and the old one does not end it."""
    flight: SingleFlight[str, int] = SingleFlight()
    first_may_end, second_may_end = asyncio.Event(), asyncio.Event()

    async def slow(gate: asyncio.Event, value: int) -> int:
        await gate.wait()
        return value

    first = asyncio.create_task(flight.do("key", slow, first_may_end, 1))
    await turns()
    flight.forget("key")
    second = asyncio.create_task(flight.do("key", slow, second_may_end, 2))
    await turns()
    first_may_end.set()
    assert await first == 1
    third = asyncio.create_task(flight.do2("key", slow, second_may_end, 3))
    await turns()
    second_may_end.set()
    assert await second == 2
    assert await third == (2, True)


@on_each_loop
async def test_singleflight_goexit() -> None:
    """TestGoexitDo: a leader that goes away without a result leaves nobody waiting."""
    flight: SingleFlight[str, int] = SingleFlight()
    answer = asyncio.Event()

    async def slow() -> int:
        await answer.wait()
        return 1

    tasks = [asyncio.create_task(flight.do("key", slow)) for _ in range(5)]
    await turns()
    tasks[0].cancel()
    await turns()
    answer.set()
    await asyncio.wait(tasks)
    assert [task.cancelled() for task in tasks] == [True, False, False, False, False]


# -- x/sync/errgroup: `Scope` ----------------------------------------------------------------------------


@on_each_loop
async def test_errgroup_with_context() -> None:
    """TestWithContext: the first error cancels the others and is what comes out."""
    ended: list[str] = []

    async def sleeper() -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def fails() -> None:
        await asyncio.sleep(0)
        raise OSError("first")

    with pytest.raises(OSError, match="first"):
        async with Scope("group", unwrap=True) as group:
            group.go(sleeper)
            group.go(fails)
    assert ended == ["cancelled"]


@on_each_loop
async def test_errgroup_try_go() -> None:
    """TestTryGo: over the limit `go` says no at once (FullError) where `go_wait` waits."""
    gate = asyncio.Event()

    async with Scope("group", max_tasks=2) as group:
        group.go(gate.wait)
        group.go(gate.wait)
        with pytest.raises(FullError):
            group.go(gate.wait)
        await assert_blocks(group.go_wait(gate.wait))
        gate.set()


@on_each_loop
async def test_errgroup_go_limit() -> None:
    """TestGoLimit: never more than the limit at a time."""
    active = 0

    async def member() -> None:
        nonlocal active
        active += 1
        assert active <= 3
        await asyncio.sleep(0)
        active -= 1

    async with Scope("group", max_tasks=3) as group:
        for _ in range(50):
            await group.go_wait(member)
