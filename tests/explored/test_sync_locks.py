"""Mutex, RWMutex, Semaphore and Cond under thousands of schedules, with cancellations.

What must hold whatever strikes: nobody meets whom it must not meet; whoever was
not cancelled gets in (a lost wake-up shows as a deadlock); afterwards everything
is free and nobody is left in line. Each scenario builds its own world; `step`
is an await whose only purpose is to let somebody else come in between.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable

import pytest

from backstay import now
from backstay.sync import Cond, Mutex, RWMutex, Semaphore
from backstay.sync._mutex import STARVING_S
from backstay.sync._wake_queue import wake_queue

FULL = 20_000
QUICK = 300


async def together(*work: Awaitable[object]) -> list[object]:
    """Run all of it as tasks; a cancelled one is a legal course, an error is not."""
    # Each wake-up a handle of its own, so that every order of wake-ups can be tried.
    wake_queue().wakes_per_turn = 0
    tasks = [asyncio.ensure_future(part) for part in work]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


async def step() -> None:
    """Let somebody else come in between."""
    await asyncio.sleep(0)


# -- Mutex -----------------------------------------------------------------------------


class Section:
    """A place where only one may be."""

    def __init__(self) -> None:
        self.inside = 0
        self.visits = 0

    async def visit(self, steps: int = 1) -> None:
        """Be inside for some steps."""
        self.inside += 1
        assert self.inside == 1, "two are inside"
        try:
            for _ in range(steps):
                await step()
            self.visits += 1
        finally:
            self.inside -= 1


def nobody_left(mutex: Mutex) -> None:
    """Hold that a mutex is free and nobody waits."""
    assert not mutex.locked(), mutex
    assert mutex.statistics().waiting == 0
    assert mutex.try_lock()
    mutex.unlock()


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_a_mutex_lets_one_in_and_forgets_nobody() -> None:
    """Four tasks, two visits each, with and without waiting inside."""
    mutex, section = Mutex(), Section()

    async def worker(steps: int) -> None:
        for _ in range(2):
            async with mutex:
                await section.visit(steps)

    await together(worker(1), worker(0), worker(1), worker(2))
    assert section.inside == 0
    nobody_left(mutex)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel="systematic")
async def test_a_mutex_with_everybody_cancelled_everywhere() -> None:
    """Each of three tasks, struck once at each wait, in both windows."""
    mutex, section = Mutex(), Section()

    async def worker() -> None:
        async with mutex:
            await section.visit()

    results = await together(worker(), worker(), worker())
    assert section.visits == sum(result is None for result in results)
    nobody_left(mutex)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True, timers="early")
async def test_a_mutex_in_both_modes() -> None:
    """Holds longer and shorter than a millisecond, so that it is offered here and handed over there."""
    mutex, section = Mutex(), Section()

    async def worker(seconds: float) -> None:
        for _ in range(2):
            async with mutex:
                await section.visit(0)
                await asyncio.sleep(seconds)
            await step()

    await together(worker(STARVING_S * 2), worker(STARVING_S / 4), worker(0))
    nobody_left(mutex)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_a_mutex_by_hand_and_with_a_time_limit() -> None:
    """lock() under wait_for and under timeout, beside try_lock and blocks."""
    mutex, section = Mutex(), Section()

    async def by_hand() -> None:
        await asyncio.wait_for(mutex.lock(), 1.0)
        try:
            await section.visit()
        finally:
            mutex.unlock()

    async def limited() -> None:
        try:
            async with asyncio.timeout(0.001):
                await mutex.lock()
        except TimeoutError:
            return
        try:
            await section.visit()
        finally:
            mutex.unlock()

    async def tries() -> None:
        while not mutex.try_lock():
            await asyncio.sleep(0.001)
        try:
            await section.visit()
        finally:
            mutex.unlock()

    async def block() -> None:
        async with mutex:
            await section.visit()
            await asyncio.sleep(0.002)

    await together(limited(), block(), tries(), limited())
    nobody_left(mutex)
    if sys.version_info >= (
        3,
        12,
    ):  # until 3.11 wait_for itself loses what a cancelled task was given
        await together(by_hand(), by_hand())
        nobody_left(mutex)


@pytest.mark.explore(schedules=FULL, quick=QUICK)
async def test_who_waits_a_millisecond_is_next() -> None:
    """Nobody who comes later gets in before one that has waited for a millisecond."""
    mutex = Mutex()
    waiting_since: dict[int, float] = {}

    async def worker(number: int) -> None:
        for turn in range(2):
            key = number * 10 + turn
            waiting_since[key] = now()
            async with mutex:
                mine = waiting_since.pop(key)
                others = [began for began in waiting_since.values() if began < mine]
                assert all(now() - began <= STARVING_S * 4 for began in others), "overtaken"
                await asyncio.sleep(STARVING_S * 1.5)

    await together(*(worker(n) for n in range(3)))
    nobody_left(mutex)


# -- RWMutex ------------------------------------------------------------------------------


class Library:
    """Many may read, one may write."""

    def __init__(self) -> None:
        self.rw = RWMutex()
        self.reading = 0
        self.writing = 0
        self.visits = 0

    async def read(self, steps: int = 1) -> None:
        """Read for some steps."""
        async with self.rw.read:
            self.reading += 1
            assert not self.writing, "a reader beside a writer"
            try:
                for _ in range(steps):
                    await step()
                self.visits += 1
            finally:
                self.reading -= 1

    async def write(self, steps: int = 1) -> None:
        """Write for some steps."""
        async with self.rw.write:
            self.writing += 1
            assert self.writing == 1, "two writers"
            assert not self.reading, "a writer beside readers"
            try:
                for _ in range(steps):
                    await step()
                self.visits += 1
            finally:
                self.writing -= 1

    def check(self) -> None:
        """Hold that nobody is inside or in line."""
        statistics = self.rw.statistics()
        assert (statistics.readers, statistics.writer) == (0, None)
        assert (statistics.waiting_readers, statistics.waiting_writers) == (0, 0)
        assert not self.rw._waiting
        assert self.rw.write.try_lock()
        self.rw.write.unlock()


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_readers_and_writers_never_meet() -> None:
    """Three readers and two writers in every order."""
    library = Library()
    await together(
        library.read(), library.write(), library.read(2), library.write(), library.read(0)
    )
    library.check()


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel="systematic")
async def test_readers_and_writers_cancelled_everywhere() -> None:
    """A cancelled writer lets readers through, a cancelled reader the writer."""
    library = Library()
    results = await together(library.read(), library.write(), library.read(), library.write())
    assert library.visits == sum(result is None for result in results)
    library.check()


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_taking_turns() -> None:
    """Whoever waits is overtaken by at most one batch of the other side."""
    library = Library()
    order: list[str] = []

    async def reader() -> None:
        async with library.rw.read:
            order.append("r")
            await step()

    async def writer() -> None:
        async with library.rw.write:
            order.append("w")
            await step()

    await library.rw.write.lock()
    tasks = [asyncio.ensure_future(work) for work in (reader(), writer(), reader(), writer())]
    while sum(not task.done() for task in tasks) > (
        library.rw.statistics().waiting_readers + library.rw.statistics().waiting_writers
    ):
        await step()
    library.rw.write.unlock()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert "".join(order) in {"rrww", "rww", "rrw", "rw", "ww", "rr", "r", "w", ""}
    library.check()


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_a_writer_that_gave_up_blocks_nobody() -> None:
    """A reader behind it comes in while others go on reading."""
    library = Library()
    wake_queue().wakes_per_turn = 0
    await library.rw.read.lock()
    writer = asyncio.ensure_future(library.write())
    await step()
    reader = asyncio.ensure_future(library.read())
    await step()
    writer.cancel()
    await asyncio.wait([writer, reader])
    library.rw.read.unlock()
    library.check()


# -- Semaphore ----------------------------------------------------------------------------


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_a_semaphore_is_never_overdrawn_and_forgets_nobody() -> None:
    """Different weights, blocks and by hand."""
    semaphore, taken = Semaphore(3), 0

    async def worker(count: int) -> None:
        nonlocal taken
        async with semaphore.places(count):
            taken += count
            assert taken <= 3
            try:
                await step()
            finally:
                taken -= count

    async def single() -> None:
        nonlocal taken
        async with semaphore:
            taken += 1
            assert taken <= 3
            try:
                await step()
            finally:
                taken -= 1

    await together(worker(2), single(), worker(3), single(), worker(1))
    assert semaphore.free == 3
    assert semaphore.statistics().waiting == 0


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel="systematic")
async def test_a_semaphore_cancelled_everywhere() -> None:
    """Also the large request in front of small ones."""
    semaphore = Semaphore(2)

    async def worker(count: int) -> None:
        await semaphore.acquire(count)
        try:
            await step()
        finally:
            semaphore.release(count)

    await together(worker(1), worker(2), worker(1), worker(1))
    assert semaphore.free == 2
    assert semaphore.statistics().waiting == 0


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_all_are_served_for_whom_there_is_room() -> None:
    """Those who get in stay until everybody has who is not cancelled."""
    semaphore = Semaphore(3)
    inside, leave = 0, asyncio.Event()

    async def worker() -> None:
        nonlocal inside
        async with semaphore:
            inside += 1
            await leave.wait()

    wake_queue().wakes_per_turn = 0
    await semaphore.acquire(3)
    tasks = [asyncio.ensure_future(worker()) for _ in range(3)]
    await step()
    semaphore.release(3)
    while inside < 3 and not any(task.done() for task in tasks):
        await step()
    leave.set()
    await asyncio.wait(tasks)
    assert semaphore.free == 3


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_a_large_request_is_not_overtaken() -> None:
    """Once it stands in line, nobody who comes later gets a place before it."""
    semaphore = Semaphore(2)
    await semaphore.acquire(1)
    order: list[str] = []

    async def large() -> None:
        standing.append(1)
        await semaphore.acquire(2)
        order.append("large")
        semaphore.release(2)

    async def small() -> None:
        while not standing and not first.done():
            await step()
        await semaphore.acquire(1)
        order.append("small")
        semaphore.release(1)

    wake_queue().wakes_per_turn = 0
    standing: list[int] = []
    first = asyncio.ensure_future(large())
    others = [asyncio.ensure_future(small()) for _ in range(2)]
    await step()
    semaphore.release(1)
    await asyncio.wait([first, *others])
    assert semaphore.free == 2
    assert "large" not in order or order[0] == "large", "overtaken"


# -- Cond ---------------------------------------------------------------------------------------


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_a_notice_is_never_lost() -> None:
    """As many items as consumers; whoever is not cancelled gets one if there is one."""
    cond = Cond()
    items: list[int] = []
    got: list[int] = []

    async def consumer() -> None:
        async with cond:
            while not items:
                await cond.wait()
            got.append(items.pop())

    async def producer() -> None:
        for item in range(2):
            async with cond:
                items.append(item)
                cond.notify()
                await step()  # whoever was notified waits for the mutex meanwhile

    wake_queue().wakes_per_turn = 0
    consumers = [asyncio.ensure_future(consumer()) for _ in range(3)]
    producing = asyncio.ensure_future(producer())
    await asyncio.wait([producing])
    # Everything that was produced is taken, as long as enough consumers are left.
    while items and any(not task.done() for task in consumers):
        assert cond.statistics().waiting < sum(not t.done() for t in consumers) or not items, (
            "an item, somebody who waits for one, and no notice"
        )
        await step()
    for task in consumers:
        task.cancel()
    await asyncio.wait(consumers)
    assert sorted(got + items) == list(range(len(got) + len(items)))
    assert cond.statistics().waiting == 0
    nobody_left(cond.mutex)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel="systematic")
async def test_whoever_leaves_wait_holds_the_mutex() -> None:
    """Notified, cancelled, or both: inside the block the mutex is held, after it it is free."""
    cond, section = Cond(), Section()

    async def waits() -> None:
        async with cond:
            try:
                await cond.wait()
            finally:
                assert section.inside == 0, "the mutex is not held"
                assert cond.mutex._owner is asyncio.current_task()

    wake_queue().wakes_per_turn = 0
    waiters = [asyncio.ensure_future(waits()) for _ in range(2)]
    while not all(task.done() for task in waiters):
        async with cond:
            cond.notify()
            await section.visit()
        await step()
    for task in waiters:
        if not task.cancelled():
            task.result()
    nobody_left(cond.mutex)
