"""Famous bugs of asyncio code, kept as demos: each is found, replays, and its cure passes.

They guard the instrument: a change that makes exploration blind shows here first.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from backstay.testing import ExplorationFailure, explore, replay

Scenario = Callable[[], Awaitable[object]]


def find(scenario: Scenario, **options: Any) -> ExplorationFailure:
    """Explore until it fails; the failure must come back from its replay string."""
    with pytest.raises(ExplorationFailure) as caught:
        explore(scenario, **options)
    again: pytest.ExceptionInfo[ExplorationFailure]
    with pytest.raises(ExplorationFailure) as again:
        replay(scenario, caught.value.replay)
    assert again.value.replay == caught.value.replay
    assert again.value.trace == caught.value.trace
    assert again.value.kind == caught.value.kind
    return caught.value


# -- check, then act ---------------------------------------------------------------


class Cache:
    """Loads each key once, it believes."""

    def __init__(self) -> None:
        self.values: dict[str, int] = {}
        self.loads = 0

    async def _load(self, key: str) -> int:
        self.loads += 1
        await asyncio.sleep(0)
        return len(key)

    async def get(self, key: str) -> int:
        if key not in self.values:
            self.values[key] = await self._load(key)
        return self.values[key]


class SafeCache(Cache):
    """Stores the future and not the value, so that the second caller finds something."""

    def __init__(self) -> None:
        super().__init__()
        self.loading: dict[str, asyncio.Future[int]] = {}

    async def get(self, key: str) -> int:
        if key not in self.loading:
            self.loading[key] = asyncio.ensure_future(self._load(key))
        return await asyncio.shield(self.loading[key])


def cache_scenario(make: type[Cache]) -> Scenario:
    async def scenario() -> None:
        cache = make()
        await asyncio.gather(cache.get("k"), cache.get("k"))
        assert cache.loads == 1

    return scenario


def test_a_cache_that_checks_then_acts_loads_twice() -> None:
    """The stock order shows it already; the trace names both readers."""
    failure = find(cache_scenario(Cache), schedules=10)
    assert failure.schedules == 1
    assert "Cache.get#2" in failure.report
    explore(cache_scenario(SafeCache), schedules=500, cancel=False)


# -- the lost wake-up --------------------------------------------------------------


class HandMadeSemaphore:
    """A waiter that was woken and is cancelled takes the wake-up with it."""

    def __init__(self, value: int) -> None:
        self.value = value
        self.waiters: deque[asyncio.Future[None]] = deque()

    async def acquire(self) -> None:
        while self.value <= 0:
            waiter = asyncio.get_running_loop().create_future()
            self.waiters.append(waiter)
            await self._park(waiter)
        self.value -= 1

    async def _park(self, waiter: asyncio.Future[None]) -> None:
        await waiter

    def release(self) -> None:
        self.value += 1
        self._wake_next()

    def _wake_next(self) -> None:
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return


class CuredSemaphore(HandMadeSemaphore):
    """Passes the wake-up on."""

    async def _park(self, waiter: asyncio.Future[None]) -> None:
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and self.value > 0:
                self._wake_next()
            raise


def semaphore_scenario(make: type[HandMadeSemaphore]) -> Scenario:
    async def scenario() -> None:
        semaphore = make(1)

        async def user() -> None:
            await semaphore.acquire()
            try:
                await asyncio.sleep(0)
            finally:
                semaphore.release()

        users = [asyncio.create_task(user(), name=f"user-{n}") for n in range(3)]
        await asyncio.gather(*users, return_exceptions=True)

    return scenario


@pytest.mark.parametrize("cancel", [True, "systematic"])
def test_a_hand_made_semaphore_loses_a_wake_up(cancel: Any) -> None:
    """Cancelled between being woken and running, it leaves the next one waiting for ever."""
    failure = find(semaphore_scenario(HandMadeSemaphore), schedules=500, cancel=cancel)
    assert failure.kind == "deadlock"
    assert "is CANCELLED at" in failure.report
    explore(semaphore_scenario(CuredSemaphore), schedules=1000, cancel=cancel)


# -- two locks, two orders ---------------------------------------------------------


def transfer_scenario(*, ordered: bool) -> Scenario:
    async def scenario() -> None:
        locks = [asyncio.Lock(), asyncio.Lock()]

        async def transfer(source: int, target: int) -> None:
            first, second = sorted((source, target)) if ordered else (source, target)
            async with locks[first], locks[second]:
                await asyncio.sleep(0)

        await asyncio.gather(transfer(0, 1), transfer(1, 0))

    return scenario


@pytest.mark.parametrize("strategy", ["random", "pct", "dfs"])
def test_two_locks_in_two_orders_deadlock(strategy: Any) -> None:
    """In the stock order it never happens: taking a free lock does not suspend."""

    def with_work(*, ordered: bool) -> Scenario:
        async def scenario() -> None:
            locks = [asyncio.Lock(), asyncio.Lock()]

            async def transfer(source: int, target: int) -> None:
                first, second = sorted((source, target)) if ordered else (source, target)
                async with locks[first]:
                    await asyncio.sleep(0)  # reads the first account
                    async with locks[second]:
                        await asyncio.sleep(0)

            async def later() -> None:
                for _ in range(4):
                    await asyncio.sleep(0)
                await transfer(1, 0)

            await asyncio.gather(transfer(0, 1), later())

        return scenario

    explore(with_work(ordered=False), schedules=1, strategy=strategy)  # hidden in the stock order
    failure = find(with_work(ordered=False), schedules=400, strategy=strategy)
    assert failure.kind == "deadlock"
    assert "waits at test_famous_bugs.py" in failure.report
    explore(with_work(ordered=True), schedules=400, strategy=strategy)
    explore(transfer_scenario(ordered=False), schedules=400)  # nothing between the locks: safe


# -- wait_for and a cancellation that vanishes ----------------------------------------


async def swallowed_cancellation() -> None:
    """A worker that polls a queue must end when it is told to."""
    queue: asyncio.Queue[int] = asyncio.Queue()

    async def worker() -> None:
        while True:
            await asyncio.wait_for(queue.get(), timeout=10)

    task = asyncio.create_task(worker(), name="worker")
    await asyncio.sleep(1)
    queue.put_nowait(1)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task], timeout=5)
    assert task.done(), "cancelled, and running on"


def test_wait_for_swallows_a_cancellation() -> None:
    """Until Python 3.11 a result that was there already won over the cancellation (gh-86296)."""
    if sys.version_info >= (3, 12):
        explore(swallowed_cancellation, schedules=2000)
        return
    failure = find(swallowed_cancellation, schedules=500)
    assert "cancelled, and running on" in failure.report


# -- anyio's stream and asyncio's cancellation ----------------------------------------


def test_an_anyio_stream_loses_an_item() -> None:
    """Handed over and cancelled in the same turn, the item is gone (agronholm/anyio#146, #536)."""
    anyio = pytest.importorskip("anyio")

    async def scenario() -> None:
        send, receive = anyio.create_memory_object_stream(10)
        with send, receive:
            got: list[int] = []

            async def reader() -> None:
                got.append(await receive.receive())

            task = asyncio.create_task(reader(), name="reader")
            await asyncio.sleep(0)
            await send.send(1)
            await asyncio.wait([task], timeout=1)
            assert got or receive.statistics().current_buffer_used == 1, "the item is nowhere"

    failure = find(scenario, schedules=2000, cancel="systematic")
    assert "the item is nowhere" in failure.report


def test_the_same_with_a_queue_of_asyncio_is_safe() -> None:
    """`asyncio.Queue` keeps the item until the reader runs, so the same scenario passes."""

    async def scenario() -> None:
        queue: asyncio.Queue[int] = asyncio.Queue()
        got: list[int] = []

        async def reader() -> None:
            got.append(await queue.get())

        task = asyncio.create_task(reader(), name="reader")
        await asyncio.sleep(0)
        queue.put_nowait(1)
        await asyncio.wait([task], timeout=1)
        assert got or queue.qsize() == 1

    explore(scenario, schedules=500, cancel="systematic")
