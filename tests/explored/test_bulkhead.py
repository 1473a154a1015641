"""Bulkhead, AdaptiveBulkhead and Admission under thousands of schedules, with cancellations at every wait.

What must hold whatever strikes: never more in than there are places; whoever was
neither cancelled nor refused gets in; afterwards everything is free, nobody is in
line, and no count is below zero. The lines here are short in time, so that drops of
CoDel come between everything else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from backstay.errors import FullError, ShedError
from backstay.guard._adaptive_bulkhead import AdaptiveBulkhead
from backstay.guard._admission import Admission
from backstay.guard._bulkhead import Bulkhead
from backstay.guard.rules.aimd_limit import AimdLimit
from backstay.sync._wake_queue import wake_queue

FULL = 10_000
QUICK = 200


class Rooms:
    """What a bulkhead protects: counts who is inside."""

    def __init__(self, bulkhead: Bulkhead) -> None:
        self.bulkhead = bulkhead
        self.inside = 0
        self.visits = 0
        self.refused = 0

    async def visit(self, steps: int = 1) -> None:
        """Be inside for some steps."""
        self.inside += 1
        assert self.inside <= max(self.bulkhead.n, self.bulkhead.in_flight), "more in than taken"
        assert self.bulkhead.queued >= 0
        try:
            for _ in range(steps):
                await asyncio.sleep(0)
            self.visits += 1
        finally:
            self.inside -= 1

    async def stay(self, seconds: float) -> None:
        """Be inside for a while."""
        self.inside += 1
        try:
            await asyncio.sleep(seconds)
            self.visits += 1
        finally:
            self.inside -= 1

    async def by_block(self, steps: int = 1) -> None:
        """Come in by `async with`."""
        try:
            async with self.bulkhead:
                await self.visit(steps)
        except FullError:
            self.refused += 1

    async def by_call(self, seconds: float) -> None:
        """Come in by `call`."""
        try:
            await self.bulkhead.call(self.stay, seconds)
        except FullError:
            self.refused += 1

    async def by_hand(self) -> None:
        """Come in by `acquire`, leave by `release`."""
        try:
            await self.bulkhead.acquire()
        except FullError:
            self.refused += 1
            return
        try:
            await self.visit()
        finally:
            self.bulkhead.release()


async def together(*work: Awaitable[object]) -> list[object]:
    """Run all of it as tasks; a cancelled one is a legal course, an error is not."""
    wake_queue().wakes_per_turn = 0  # each wake-up a handle of its own: every order can be tried
    tasks = [asyncio.ensure_future(part) for part in work]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


def nobody_left(rooms: Rooms) -> None:
    """Hold that all places are free and nobody waits."""
    bulkhead = rooms.bulkhead
    assert rooms.inside == 0
    assert (bulkhead.in_flight, bulkhead.queued) == (0, 0), bulkhead
    assert bulkhead._line.first() is None
    assert bulkhead._rule.since is None
    assert bulkhead.rejected >= rooms.refused
    for _ in range(bulkhead.n):
        assert bulkhead.take()
    assert not bulkhead.take()
    for _ in range(bulkhead.n):
        bulkhead.release()


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_nobody_is_forgotten_and_no_place_is_lost() -> None:
    """Blocks, calls and acquire by hand on two places."""
    rooms = Rooms(Bulkhead(2, queue=4, name="b"))
    work = rooms.by_block(), rooms.by_hand(), rooms.by_block(2), rooms.by_hand(), rooms.by_call(0)
    results = await together(*work)
    assert rooms.visits + rooms.refused >= sum(result is None for result in results)
    nobody_left(rooms)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel="systematic")
async def test_everybody_cancelled_everywhere() -> None:
    """Each of four tasks struck once at each wait, in both windows."""
    rooms = Rooms(Bulkhead(1, queue=3, name="b"))
    await together(rooms.by_block(), rooms.by_hand(), rooms.by_block(), rooms.by_call(0))
    nobody_left(rooms)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True, timers="early")
async def test_drops_come_between_everything_else() -> None:
    """Waits of up to 3 ms in a line with a patience of 2: some are sent away, no place with them."""
    rooms = Rooms(Bulkhead(1, queue=4, name="b", target=0.001, interval=0.002))
    await together(
        rooms.by_call(0.001),
        rooms.by_call(0.003),
        rooms.by_block(),
        rooms.by_call(0.001),
        rooms.by_hand(),
    )
    nobody_left(rooms)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_places_change_while_they_are_wanted() -> None:
    """From two to one to three, and the line with them."""
    rooms = Rooms(Bulkhead(2, queue=5, name="b", target=0.001, interval=0.002))

    async def change() -> None:
        await asyncio.sleep(0)
        rooms.bulkhead.update(n=1)
        await asyncio.sleep(0.001)
        rooms.bulkhead.update(n=3, max_wait=0.001)

    await together(
        change(), rooms.by_block(), rooms.by_call(0.002), rooms.by_hand(), rooms.by_block(2)
    )
    nobody_left(rooms)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True, timers="early")
async def test_a_time_limit_around_the_wait() -> None:
    """It strikes while in line, while being given a place, and while inside."""
    rooms = Rooms(Bulkhead(1, queue=3, name="b", target=None))

    async def limited() -> None:
        try:
            async with asyncio.timeout(0.001):
                await rooms.by_call(0.002)
        except TimeoutError:
            pass

    await together(limited(), rooms.by_call(0.001), limited(), rooms.by_block())
    nobody_left(rooms)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_calls_that_hang_let_nobody_else_hang() -> None:
    """Nothing ever comes back by itself: those in line are sent away, or let in by more places."""
    rooms = Rooms(Bulkhead(1, queue=4, name="b", target=0.001, interval=0.002))
    over = asyncio.Event()

    async def hang() -> None:
        async with rooms.bulkhead:
            await over.wait()

    async def others() -> None:
        await asyncio.gather(rooms.by_call(0), asyncio.sleep(0.001), return_exceptions=True)
        await asyncio.gather(rooms.by_hand(), rooms.by_block(), return_exceptions=True)
        bulkhead.update(target=None)
        waiting = asyncio.gather(rooms.by_hand(), rooms.by_block(), return_exceptions=True)
        await asyncio.sleep(0)
        bulkhead.update(n=2)
        await waiting

    bulkhead = rooms.bulkhead
    task = asyncio.ensure_future(others())
    task.add_done_callback(lambda _: over.set())
    await together(hang(), task)
    if left := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(left)  # of a task that was cancelled before it waited for them
    assert rooms.inside == 0
    assert (bulkhead.in_flight, bulkhead.queued) == (0, 0)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_a_limit_that_moves_by_itself_loses_no_place_either() -> None:
    """Drops, answers and cancelled calls move it between one and three."""
    bulkhead = AdaptiveBulkhead(
        AimdLimit(initial=2, least=1, most=3, backoff=0.5), queue=4, name="b", target=None
    )
    rooms = Rooms(bulkhead)

    async def times_out() -> None:
        await rooms.visit()
        raise TimeoutError

    async def dropped() -> None:
        try:
            await bulkhead.call(times_out)
        except TimeoutError:
            pass

    async def permitted() -> None:
        async with bulkhead.permit():
            await rooms.visit()

    await together(dropped(), rooms.by_call(0), permitted(), dropped(), rooms.by_call(0))
    assert 1 <= bulkhead.n <= 3
    statistics = bulkhead.statistics()
    assert statistics.sampled + statistics.dropped + statistics.ignored <= 5
    nobody_left(rooms)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_what_was_let_in_leaves_whatever_strikes() -> None:
    """An admission of three, by hand, as a block and around calls."""
    door = Admission(start=3, name="door")
    inside = refused = 0

    async def work() -> None:
        nonlocal inside
        inside += 1
        assert inside <= door.in_flight <= 3
        try:
            await asyncio.sleep(0)
            await asyncio.sleep(0.01)
        finally:
            inside -= 1

    async def by_call() -> None:
        nonlocal refused
        try:
            await door.call(work)
        except ShedError:
            refused += 1

    async def by_block(level: str) -> None:
        nonlocal refused
        try:
            async with door.permit(level):
                await work()
        except ShedError:
            refused += 1

    await together(
        by_call(), by_block("critical"), by_block("background"), by_call(), by_block("critical")
    )
    assert (door.in_flight, inside) == (0, 0)
    assert door.rejected == refused
    await asyncio.sleep(0.05)
    assert not door._beating
