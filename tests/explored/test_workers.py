"""Worker pools under thousands of schedules, with cancellations at every wait.

What must hold whatever strikes: never more jobs under way than there are workers, and
never two of one key; a job that was neither cancelled nor late nor cut is done; jobs of
one key begin in the order in which they were taken; whoever waits for anything gets an
answer; and afterwards nobody is inside, in line or promised anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from backstay.errors import DeadlineExceeded, Rejected
from backstay.guard._blocking_workers import BlockingWorkers, thread_workers
from backstay.guard._worker_core import WorkerCore
from backstay.guard._workers import WorkerPool
from backstay.sync._wake_queue import wake_queue

FULL = 10_000
QUICK = 150

EXPECTED = (Rejected, DeadlineExceeded, TimeoutError)


class Shop:
    """What the jobs work in: counts who is inside."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.inside: list[str] = []
        self.began: list[str] = []
        self.ended: list[str] = []
        self.taken: list[str] = []
        self.pool: WorkerCore[..., Any] | None = None  # whose line is watched, too

    def enter(self, what: str) -> None:
        self.inside.append(what)
        self.began.append(what)
        assert len(self.inside) <= self.most, "more under way than there are workers"
        assert len({name[0] for name in self.inside}) == len(self.inside), "two of one key"
        if self.pool is not None:
            inside = self.pool._inside + self.pool._promised
            assert inside <= self.pool._settings.most, "more taken than there is room"

    def leave(self, what: str) -> None:
        self.inside.remove(what)
        self.ended.append(what)

    async def work(self, what: str, seconds: float = 0.0) -> str:
        """Be at it for some steps or seconds."""
        self.enter(what)
        try:
            await asyncio.sleep(seconds)
            await asyncio.sleep(0)
        finally:
            self.leave(what)
        return what

    def block(self, what: str) -> str:
        """Be at it in a thread; there it is a step of its own."""
        self.enter(what)
        self.leave(what)
        return what

    async def submit(self, pool: Any, what: str, *args: float) -> None:
        """Hand a job over, and then wait for it."""
        try:
            job = await pool.submit(what, *args)
            self.taken.append(what)
            assert await job == what
        except EXPECTED:
            pass

    async def run(self, pool: Any, what: str, *args: float) -> None:
        """Hand a job over that ends with its caller."""
        try:
            assert await pool.run(what, *args) == what
        except EXPECTED:
            pass
        except asyncio.CancelledError:
            if isinstance(pool, WorkerPool):  # which ends what it began before it lets go
                assert what not in self.inside
            raise

    def in_order(self, key: str) -> None:
        """Hold that jobs of a key began as they were taken."""
        began = [what for what in self.began if what[0] == key and what in self.taken]
        taken = [what for what in self.taken if what[0] == key and what in began]
        assert began == taken


async def together(*work: Awaitable[object]) -> list[object]:
    """Run all of it as tasks; a cancelled one is a legal course, an error is not."""
    wake_queue().wakes_per_turn = 0  # each wake-up a handle of its own: every order can be tried
    tasks = [asyncio.ensure_future(part) for part in work]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


def nobody_left(shop: Shop, pool: WorkerCore[..., Any]) -> None:
    """Hold that the pool is as it was before anybody came."""
    assert shop.inside == []
    assert sorted(shop.began) == sorted(shop.ended)
    assert (pool._running, pool._inside, pool._promised, len(pool._jobs)) == (0, 0, 0, 0), pool
    assert pool._alive == {}
    assert pool._submitters.first() is None
    assert not pool._jobs._behind
    statistics = pool.statistics()
    ends = statistics.succeeded + statistics.failed + statistics.cancelled
    assert ends + statistics.expired + statistics.dropped == statistics.submitted


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_no_place_is_lost_and_nobody_is_forgotten() -> None:
    """Jobs that are awaited and jobs that end with their callers, on two workers with one place in line."""
    shop = Shop(2)
    async with WorkerPool(shop.work, workers=2, queue=1, name="w") as pool:
        shop.pool = pool
        results = await together(
            shop.submit(pool, "a"),
            shop.run(pool, "b"),
            shop.submit(pool, "c"),
            shop.run(pool, "d"),
            shop.submit(pool, "e"),
        )
        assert len(shop.ended) >= results.count(None) - pool.statistics().cancelled
    nobody_left(shop, pool)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel="systematic")
async def test_everybody_cancelled_everywhere() -> None:
    """Each task struck once at each wait, in both windows; jobs among them."""
    shop = Shop(1)
    async with WorkerPool(shop.work, workers=1, queue=0, name="w") as pool:
        shop.pool = pool
        await together(shop.submit(pool, "a"), shop.run(pool, "b"), shop.run(pool, "c"))
    nobody_left(shop, pool)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_jobs_of_one_key_follow_each_other() -> None:
    """Three of one key among two of others, on three workers."""
    shop = Shop(3)
    async with WorkerPool(
        shop.work, workers=3, queue=2, name="w", key=lambda what, *_: what[0]
    ) as pool:
        await together(
            shop.submit(pool, "a1"),
            shop.submit(pool, "a2"),
            shop.run(pool, "b1"),
            shop.submit(pool, "a3"),
            shop.submit(pool, "b2"),
        )
    shop.in_order("a")
    nobody_left(shop, pool)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True, timers="early")
async def test_deadlines_come_between_everything_else() -> None:
    """Some jobs expire in line, some are cut, some are done; the newest goes first."""
    shop = Shop(1)
    async with WorkerPool(
        shop.work, workers=1, queue=2, name="w", deadline=0.05, order="lifo"
    ) as pool:
        await together(
            shop.submit(pool, "a", 0.04),
            shop.run(pool, "b", 0.04),
            shop.submit(pool, "c", 0.04),
            shop.run(pool, "d", 0.0),
        )
    nobody_left(shop, pool)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_the_end_comes_in_the_middle() -> None:
    """Everybody gets an answer: done, cut, or never begun."""
    shop = Shop(2)
    pool = WorkerPool(shop.work, workers=1, queue=1, name="w")

    async def closes() -> None:
        await asyncio.sleep(0)
        for record in await pool.close(drain=0.001):
            assert record.state in ("queued", "running")

    async with pool:
        await together(
            shop.submit(pool, "a", 0.002),
            shop.run(pool, "b"),
            closes(),
            shop.submit(pool, "c"),
            shop.run(pool, "d"),
        )
    assert pool._state == "closed"
    nobody_left(shop, pool)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_the_block_itself_is_cancelled() -> None:
    """Whatever it is at, its jobs have ended when it has."""
    shop = Shop(1)
    pool = WorkerPool(shop.work, workers=1, queue=1, name="w", drain=0.01)

    async def block() -> None:
        try:
            async with pool:
                await pool.submit("a", 0.001)
                await pool.submit("b")
                await pool.submit("c")
        finally:
            assert shop.inside == []

    await together(block())
    nobody_left(shop, pool)


@pytest.mark.explore(schedules=FULL, quick=QUICK)
async def test_a_job_ends_as_the_end_gives_up_waiting() -> None:
    """Its account is closed all the same."""
    shop = Shop(1)

    async def slow_to_end(what: str) -> None:
        shop.enter(what)
        try:
            await asyncio.sleep(99)
        finally:
            await asyncio.sleep(1.0)  # as long as the last call
            shop.leave(what)

    async with WorkerPool(slow_to_end, workers=1, name="w", drain=0) as pool:
        await pool.submit("a")
        await asyncio.sleep(0)
    nobody_left(shop, pool)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_workers_come_and_go() -> None:
    """From one to three to two; with fewer, what is under way finishes."""
    shop = Shop(3)

    async def change(pool: WorkerPool[..., Any]) -> None:
        await asyncio.sleep(0)
        pool.update(workers=3)
        await asyncio.sleep(0)
        pool.update(workers=2, queue=0)

    async with WorkerPool(shop.work, workers=1, queue=0, name="w") as pool:
        await together(
            change(pool), *(shop.submit(pool, what) for what in "abc"), shop.run(pool, "d")
        )
    nobody_left(shop, pool)


class SlowThreads:
    """Stands where threads are: each function takes a millisecond that nobody can interrupt."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop

    def start(self, fn: Any, args: Any, kwargs: Any) -> asyncio.Future[Any]:
        """Begin a call."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self.shop.enter(args[0])
        loop.call_later(0.001, self._end, future, args[0])
        return future

    def _end(self, future: asyncio.Future[Any], what: str) -> None:
        self.shop.leave(what)
        assert not future.cancelled(), "a cancel has reached what a thread does"
        future.set_result(what)

    def cut(self) -> None:
        """Threads cannot be ended."""

    async def shut_down(self, overrunning: int) -> None:
        """Nothing is left."""
        assert overrunning == 0
        assert not self.shop.inside


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_a_thread_keeps_its_place_until_it_returns() -> None:
    """Whoever leaves meanwhile: no more functions run than there are workers, and none of one key at once."""
    shop = Shop(2)
    pool: BlockingWorkers[..., Any] = thread_workers(
        len, workers=2, queue=1, name="w", key=lambda what: what[0]
    )
    pool._outside = SlowThreads(shop)
    async with pool:
        await together(
            shop.run(pool, "a1"),
            shop.submit(pool, "b1"),
            shop.run(pool, "c1"),
            shop.submit(pool, "a2"),
        )
    nobody_left(shop, pool)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_functions_in_an_executor() -> None:
    """As the loop itself runs them: each at any later time, also when its future was cancelled."""
    shop = Shop(1)
    async with thread_workers(shop.block, workers=2, queue=1, name="w") as pool:
        await together(*(shop.run(pool, what) for what in "abc"), shop.submit(pool, "d"))
    nobody_left(shop, pool)
