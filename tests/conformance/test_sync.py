"""Go's cases for `sync`, each under the name of what it checks.

Ported as cases, not as code, from `src/sync/*_test.go` of Go 1.19 and 1.25 (BSD-3);
each docstring names its origin. What Go leaves to
luck (its race detector, its fatal errors) is an exception here.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from backstay import Scope
from backstay.errors import LockMisuse, SyncMisuse
from backstay.sync import (
    Cond,
    Mutex,
    Once,
    RWMutex,
    WaitGroup,
    once_value,
)

from .loops import on_each_loop, turns

# -- mutex_test.go -------------------------------------------------------------------


@on_each_loop
async def test_mutex_hammer() -> None:
    """TestMutex: ten tasks take it a hundred times each, a third of them by try_lock; none meets another."""
    mutex = Mutex()
    await mutex.lock()
    assert not mutex.try_lock()
    mutex.unlock()
    assert mutex.try_lock()
    mutex.unlock()
    inside = total = 0

    async def hammer(number: int) -> None:
        nonlocal inside, total
        for turn in range(100):
            if turn % 3 == 0:
                if mutex.try_lock():
                    mutex.unlock()
                continue
            async with mutex:
                inside += 1
                assert inside == 1
                if (turn + number) % 4 == 0:
                    await asyncio.sleep(0)
                total += 1
                inside -= 1

    await asyncio.gather(*(hammer(n) for n in range(10)))
    assert total == 660
    assert not mutex.locked()


@pytest.mark.parametrize(
    "misuse",
    [
        lambda: Mutex().unlock(),
        lambda: RWMutex().read.unlock(),
        lambda: RWMutex().write.unlock(),
    ],
    ids=["Mutex.unlock", "RWMutex.read.unlock", "RWMutex.write.unlock"],
)
@on_each_loop
async def test_mutex_misuse_unlock_of_unlocked(misuse: Any) -> None:
    """TestMutexMisuse: what is not locked cannot be unlocked (fatal in Go)."""
    with pytest.raises(LockMisuse):
        misuse()


@on_each_loop
async def test_mutex_misuse_unlock_twice() -> None:
    """TestMutexMisuse: the second unlock after one lock."""
    mutex = Mutex()
    await mutex.lock()
    mutex.unlock()
    with pytest.raises(LockMisuse):
        mutex.unlock()


@on_each_loop
async def test_rwmutex_misuse_the_wrong_side() -> None:
    """TestMutexMisuse: locked on one side and unlocked on the other."""
    rw = RWMutex()
    await rw.read.lock()
    with pytest.raises(LockMisuse):
        rw.write.unlock()
    rw.read.unlock()
    await rw.write.lock()
    with pytest.raises(LockMisuse):
        rw.read.unlock()
    rw.write.unlock()


@on_each_loop
async def test_mutex_fairness() -> None:
    """TestMutexFairness: one that holds it most of the time cannot starve one that sleeps."""
    mutex = Mutex()
    stop = False

    async def greedy() -> None:
        while not stop:
            async with mutex:
                until = time.perf_counter() + 100e-6
                while time.perf_counter() < until:
                    pass
                await asyncio.sleep(0)

    task = asyncio.create_task(greedy())
    for _ in range(10):
        await asyncio.sleep(100e-6)
        async with mutex:
            pass
    stop = True
    await task


# -- rwmutex_test.go --------------------------------------------------------------------


@pytest.mark.parametrize("readers", [1, 3, 4])
@on_each_loop
async def test_parallel_readers(readers: int) -> None:
    """TestParallelReaders: all of them are inside at the same time."""
    rw = RWMutex()
    inside, leave = 0, asyncio.Event()

    async def reader() -> None:
        nonlocal inside
        async with rw.read:
            inside += 1
            await leave.wait()

    tasks = [asyncio.create_task(reader()) for _ in range(readers)]
    await turns()
    assert inside == readers
    leave.set()
    await asyncio.gather(*tasks)


@pytest.mark.parametrize("readers", [1, 3, 10])
@on_each_loop
async def test_rwmutex_hammer(readers: int) -> None:
    """TestRWMutex: a writer is alone, readers are without a writer, in every mix."""
    rw = RWMutex()
    activity = 0  # readers count 1, writers 10,000, as in the original

    async def read() -> None:
        nonlocal activity
        for turn in range(50):
            async with rw.read:
                activity += 1
                assert 1 <= activity < 10_000
                if turn % 3:
                    await asyncio.sleep(0)
                activity -= 1
            await asyncio.sleep(0)

    async def write() -> None:
        nonlocal activity
        for turn in range(50):
            async with rw.write:
                activity += 10_000
                assert activity == 10_000
                if turn % 3:
                    await asyncio.sleep(0)
                activity -= 10_000
            await asyncio.sleep(0)

    await asyncio.gather(write(), *(read() for _ in range(readers)), write())
    assert activity == 0


@on_each_loop
async def test_rwmutex_try_lock() -> None:
    """TestRWMutex: what try_lock gets in each state."""
    rw = RWMutex()
    await rw.write.lock()
    await asyncio.create_task(nobody_gets(rw, "read", "write"))
    rw.write.unlock()
    assert rw.write.try_lock()
    rw.write.unlock()
    await rw.read.lock()
    await asyncio.create_task(nobody_gets(rw, "write"))
    rw.read.unlock()


async def nobody_gets(rw: RWMutex, *sides: str) -> None:
    """Hold that another task cannot take any of the sides now."""
    for side in sides:
        assert not getattr(rw, side).try_lock()


@on_each_loop
async def test_rlocker_is_a_lock_of_its_own() -> None:
    """TestRLocker: the reading side can be handed to code that wants any lock."""
    rw = RWMutex()
    reader = rw.read

    async def with_any_lock(lock: Any) -> None:
        async with lock:
            await asyncio.sleep(0)

    await rw.write.lock()
    waiting = asyncio.create_task(with_any_lock(reader))
    await turns()
    assert not waiting.done()
    rw.write.unlock()
    await waiting
    await with_any_lock(rw.write)


# -- once_test.go, oncefunc_test.go ---------------------------------------------------------


@on_each_loop
async def test_once_runs_once() -> None:
    """TestOnce: ten tasks, one run, and all return after it."""
    once = Once()
    runs = 0

    async def one() -> None:
        nonlocal runs
        await asyncio.sleep(0)
        runs += 1

    async def caller() -> None:
        await once.do(one)
        assert runs == 1

    await asyncio.gather(*(caller() for _ in range(10)))


@on_each_loop
async def test_once_panic_counts_as_done() -> None:
    """TestOncePanic: with the policy "keep" a run that failed is not repeated."""
    once = Once(on_error="keep")

    async def fails() -> None:
        raise KeyError("failed")

    async def never() -> None:
        raise AssertionError("Once.do called twice")

    with pytest.raises(KeyError):
        await once.do(fails)
    with pytest.raises(KeyError):
        await once.do(never)


@on_each_loop
async def test_once_value_computes_once() -> None:
    """TestOnceValue: each call returns what the one run returned."""
    runs = 0

    @once_value
    async def value() -> list[int]:
        nonlocal runs
        runs += 1
        await asyncio.sleep(0)
        return [runs]

    results = await asyncio.gather(*(value() for _ in range(10)))
    assert all(result is results[0] for result in results)
    assert runs == 1


@on_each_loop
async def test_once_value_panic_comes_back_each_time() -> None:
    """TestOnceValuePanic: with "keep" every call raises what the one run raised."""
    runs = 0

    @once_value(on_error="keep")
    async def value() -> None:
        nonlocal runs
        runs += 1
        raise KeyError("x")

    for _ in range(3):
        with pytest.raises(KeyError):
            await value()
    assert runs == 1


# -- cond_test.go -----------------------------------------------------------------------------


@on_each_loop
async def test_cond_signal_wakes_one() -> None:
    """TestCondSignal: each notice wakes exactly one."""
    cond = Cond()
    awake: list[int] = []

    async def waits(number: int) -> None:
        async with cond:
            await cond.wait()
            awake.append(number)

    tasks = [asyncio.create_task(waits(n)) for n in range(5)]
    await turns()
    for count in range(1, 6):
        async with cond:
            cond.notify()
        await turns()
        assert len(awake) == count
    async with cond:
        cond.notify()
    await asyncio.gather(*tasks)


@on_each_loop
async def test_cond_signal_generations() -> None:
    """TestCondSignalGenerations: notices go to tasks in the order in which they came."""
    cond = Cond()
    awake: list[int] = []

    async def waits(number: int) -> None:
        async with cond:
            await cond.wait()
            awake.append(number)

    tasks = []
    for number in range(100):
        tasks.append(asyncio.create_task(waits(number)))
        await turns(2)
        if number:
            async with cond:
                cond.notify()
            await turns(4)
            assert awake[-1] == number - 1
    async with cond:
        cond.notify()
    await asyncio.gather(*tasks)
    assert awake == list(range(100))


@on_each_loop
async def test_cond_broadcast() -> None:
    """TestCondBroadcast: everybody who waits wakes, round after round."""
    cond = Cond()
    awake: list[int] = []
    leave = False

    async def waits(number: int) -> None:
        async with cond:
            while not leave:
                await cond.wait()
                awake.append(number)

    tasks = [asyncio.create_task(waits(n)) for n in range(20)]
    await turns(60)
    for last in (False, False, True):
        leave = last
        async with cond:
            cond.notify_all()
        await turns(60)
        assert sorted(awake) == list(range(20))
        awake.clear()
    await asyncio.gather(*tasks)


@on_each_loop
async def test_cond_race_over_one_variable() -> None:
    """TestRace: three tasks hand a number on, each waiting for its turn."""
    cond = Cond()
    x = 0

    async def first() -> None:
        nonlocal x
        async with cond:
            x = 1
            await cond.wait()
            assert x == 2
            x = 3
            cond.notify()

    async def second() -> None:
        nonlocal x
        async with cond:
            await cond.wait_for(lambda: x == 1)
            x = 2
            cond.notify()

    async def third() -> None:
        async with cond:
            while x != 3:
                if x == 2:
                    cond.notify()
                cond.mutex._step_out(asyncio.current_task(), "a pause")
                await asyncio.sleep(0)
                await cond.mutex._step_in(asyncio.current_task(), False)  # type: ignore[arg-type]

    await asyncio.gather(first(), second(), third())


@on_each_loop
async def test_cond_signal_stealing() -> None:
    """TestCondSignalStealing: a notice for one that waits is not taken by one that comes later."""
    for _ in range(50):
        await one_notice_and_two_who_want_it()


async def one_notice_and_two_who_want_it() -> None:
    """Notify once with one task in line, and another that comes at the same time."""
    cond = Cond()
    done = False

    async def first() -> None:
        async with cond:
            await cond.wait()

    async def second() -> None:
        async with cond:
            while not done:
                await cond.wait()

    one = asyncio.create_task(first())
    await turns(3)
    other = asyncio.create_task(second())
    await turns(3)
    async with cond:
        cond.notify()
    await one
    done = True
    async with cond:
        cond.notify_all()
    await other


# -- waitgroup_test.go -----------------------------------------------------------------------------


@on_each_loop
async def test_wait_group_rounds() -> None:
    """TestWaitGroup: eight rounds over the same two groups, nobody released early."""
    group, exited = WaitGroup(), WaitGroup()
    for _ in range(8):
        leavers = 0
        group.add(16)
        exited.add(16)

        async def member() -> None:
            nonlocal leavers
            group.done()
            await group.wait()
            leavers += 1
            exited.done()

        tasks = [asyncio.create_task(member()) for _ in range(16)]
        await group.wait()
        await exited.wait()
        assert leavers == 16
        await asyncio.gather(*tasks)


@on_each_loop
async def test_wait_group_misuse_negative() -> None:
    """TestWaitGroupMisuse: the count cannot fall below zero."""
    group = WaitGroup()
    group.add(1)
    group.done()
    with pytest.raises(SyncMisuse):
        group.done()


@on_each_loop
async def test_wait_group_misuse_reuse_before_wait_returned() -> None:
    """TestWaitGroupMisuse2 and 3: a new round must not begin before everybody has left the last."""
    group = WaitGroup()
    group.add(1)
    waits = asyncio.create_task(group.wait())
    await asyncio.sleep(0)
    group.done()
    if not waits.done():
        with pytest.raises(SyncMisuse):
            group.add(1)
    await waits
    group.add(1)
    group.done()


@on_each_loop
async def test_wait_group_race() -> None:
    """TestWaitGroupRace: add before each start, wait sees all of them."""

    async def member(group: WaitGroup, seen: list[int]) -> None:
        seen.append(1)
        group.done()

    for _ in range(100):
        group, seen = WaitGroup(), list[int]()
        tasks = []
        for _ in range(2):
            group.add(1)
            tasks.append(asyncio.create_task(member(group, seen)))
        await group.wait()
        assert len(seen) == 2
        await asyncio.gather(*tasks)


@on_each_loop
async def test_wait_group_go() -> None:
    """TestWaitGroupGo: starts, counts, and is done when the task is."""
    group = WaitGroup()
    done = 0

    async def member() -> None:
        nonlocal done
        await asyncio.sleep(0)
        done += 1

    async with Scope("s"):
        for _ in range(10):
            group.go(member)
        await group.wait()
        assert done == 10
