"""A pool under thousands of schedules: opened is closed or there, and nobody waits in vain."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from courses import together

from backstay import now
from backstay.errors import FullError, GuardMisuse
from backstay.guard import Pool
from backstay.sync._wake_queue import wake_queue

FULL = 10_000
QUICK = 200
LEGAL = (ConnectionError, FullError, GuardMisuse)
LIMIT = 2


class Lines:
    """Opens, checks and closes, each with an await in it, and counts."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.opened = 0
        self.closed: list[int] = []
        self.used: set[int] = set()

    async def open(self) -> Any:
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise ConnectionError
        self.opened += 1
        assert self.opened - len(self.closed) <= LIMIT, "more are open than may be"
        return [self.opened]

    async def check(self, line: Any) -> bool:
        await asyncio.sleep(0)
        return line[0] % 3 != 0

    async def close(self, line: Any) -> None:
        assert line[0] not in self.closed, "closed twice"
        assert line[0] not in self.used, "closed while it is used"
        self.closed.append(line[0])
        await asyncio.sleep(0)

    async def use(self, pool: Pool[Any], bad: bool = False) -> None:
        async with pool.take() as line:
            assert line[0] not in self.used, "two have the same line"
            assert line[0] not in self.closed, "a closed line is lent"
            self.used.add(line[0])
            try:
                await asyncio.sleep(0)
            finally:
                self.used.discard(line[0])
        if bad:
            line = await pool.acquire()
            pool.release(line, bad=True)


def spare(task: asyncio.Task[Any]) -> bool:
    """The pool's own tasks are not cancelled one by one: they belong to its scope."""
    name = task.get_name()
    return name.startswith("pool ") or "Supply._" in repr(task.get_coro())


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True, spare=spare)
async def test_no_resource_is_lost_and_nobody_waits_beside_one() -> None:
    """Five callers, two places, opens that fail, checks that fail, lines that break."""
    lines = Lines(failures=2)
    pool = Pool(
        lines.open, close=lines.close, check=lines.check, check_after=0.0, max_open=LIMIT, name="x"
    )
    async with pool:
        await together(*(lines.use(pool, bad=number % 2 == 1) for number in range(5)), legal=LEGAL)
        seen = pool.statistics()
        assert (seen.in_use, seen.waiting) == (0, 0)
        await asyncio.sleep(1.0)  # for what is being opened or closed still
        seen = pool.statistics()
        assert seen.open == seen.idle
        assert lines.opened - sum(seen.closed.values()) == seen.idle
    assert sorted(lines.closed) == list(range(1, lines.opened + 1))


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel="systematic", spare=spare)
async def test_a_caller_cancelled_at_any_await_leaves_its_place_to_others() -> None:
    """All the others are served."""
    lines = Lines()
    pool = Pool(lines.open, close=lines.close, max_open=1, name="x")
    async with pool:
        await together(*(lines.use(pool) for _ in range(4)), legal=LEGAL)
        await lines.use(pool)
        assert pool.statistics().in_use == 0
    assert sorted(lines.closed) == list(range(1, lines.opened + 1))


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True, spare=spare)
async def test_a_pool_that_closes_while_it_is_used_closes_everything() -> None:
    """Callers in line are told, and what is out comes back first."""
    lines = Lines()
    pool = Pool(
        lines.open, close=lines.close, check=lines.check, check_after=0.0, max_open=LIMIT, name="x"
    )
    async with pool:
        wake_queue().wakes_per_turn = 0
        users = [asyncio.ensure_future(lines.use(pool)) for _ in range(4)]
        for _ in range(6):
            await asyncio.sleep(0)
        await pool.close(drain=5.0)
        assert now() < 5.0, "it waited for nothing"
        assert pool.statistics().open == 0, "it did not wait for all"
        for result in await asyncio.gather(*users, return_exceptions=True):
            assert result is None or isinstance(result, GuardMisuse | asyncio.CancelledError)
    assert sorted(lines.closed) == list(range(1, lines.opened + 1))
    assert pool.statistics().open == 0


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True, spare=spare)
async def test_a_pool_that_closes_amid_opens_and_checks_lends_nothing_afterwards() -> None:
    """Nobody stands in a line that is not served, and nothing stays open."""
    lines = Lines()
    pool = Pool(
        lines.open, close=lines.close, check=lines.check, check_after=0.0, max_open=LIMIT, name="x"
    )
    async with pool:
        wake_queue().wakes_per_turn = 0
        await pool.warm(1)
        users = [asyncio.ensure_future(lines.use(pool, bad=number == 1)) for number in range(3)]
        closers = [asyncio.ensure_future(pool.close(drain=drain)) for drain in (5.0, 0.0)]
        for result in await asyncio.gather(*users, *closers, return_exceptions=True):
            assert result is None or isinstance(result, GuardMisuse | asyncio.CancelledError)
    await pool.close()
    seen = pool.statistics()
    assert (seen.open, seen.opening, seen.in_use, seen.waiting) == (0, 0, 0, 0)
    assert sorted(lines.closed) == list(range(1, lines.opened + 1))


def spare_all_but_the_pool(task: asyncio.Task[Any]) -> bool:
    """Cancel what keeps the pool, as the end of its loop does, and what opens for it."""
    work = repr(task.get_coro())
    return "Supply._keep" not in work and "Supply._open_one" not in work


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True, spare=spare_all_but_the_pool)
async def test_a_pool_whose_own_tasks_are_cancelled_strands_nobody() -> None:
    """As the end of a loop does, or a client that cancels what is being opened."""
    lines = Lines()
    pool = Pool(lines.open, close=lines.close, max_open=LIMIT, name="x")
    with suppress(GuardMisuse):  # cut before it was entered
        async with pool:
            wake_queue().wakes_per_turn = 0
            users = [asyncio.ensure_future(lines.use(pool, bad=number == 1)) for number in range(4)]
            for result in await asyncio.gather(*users, return_exceptions=True):
                assert result is None or isinstance(result, GuardMisuse | RuntimeError)
            seen = pool.statistics()
            assert (seen.in_use, seen.waiting) == (0, 0)
    seen = pool.statistics()
    assert (seen.open, seen.opening) == (0, 0)
    assert sorted(lines.closed) == list(range(1, lines.opened + 1))


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True, spare=spare)
async def test_limits_that_change_while_callers_come_and_go_are_kept() -> None:
    """Fewer places close what is too much, more serve who waits."""
    lines = Lines()
    pool = Pool(lines.open, close=lines.close, max_open=LIMIT, max_wait=50.0, name="x")

    async def change() -> None:
        for limit in (1, LIMIT):
            pool.update(max_open=limit)
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    async with pool:
        await together(change(), *(lines.use(pool) for _ in range(4)), legal=LEGAL)
        pool.update(max_open=LIMIT, max_idle=LIMIT)
        await lines.use(pool)
        seen = pool.statistics()
        assert (seen.in_use, seen.waiting, seen.timed_out) == (0, 0, 0)
    assert sorted(lines.closed) == list(range(1, lines.opened + 1))
