"""`Gate`: a fair, bounded line in front of somebody else's pool, and who holds what."""

from __future__ import annotations

import asyncio
import gc
import logging
from contextlib import asynccontextmanager
from typing import Any

import pytest

from backstay import Scope, now, timeout
from backstay.errors import FullError, UsageError
from backstay.guard import Gate, find
from backstay.integrations.gates import gate


async def test_callers_are_served_in_turn_and_counted() -> None:
    """Places go to who came first; how many waited, and how long places are used, is known."""
    gate_ = Gate(2, name="db")
    order: list[int] = []

    async def use(number: int) -> None:
        async with gate_.hold():
            order.append(number)
            await asyncio.sleep(0.01)

    await asyncio.gather(*(use(number) for number in range(4)))
    assert order == [0, 1, 2, 3]
    seen = gate_.statistics()
    assert (seen.in_flight, seen.limit, seen.wait.count, seen.use.count) == (0, 2, 2, 4)
    assert seen.wait.total_s == pytest.approx(0.02)
    assert seen.use.total_s == pytest.approx(0.04)
    assert find("db") is gate_


async def test_a_line_that_is_full_says_no() -> None:
    """Beyond the line there is a typed no at once."""
    gate_ = Gate(1, 1)
    async with gate_.hold():
        waiting = asyncio.create_task(_use(gate_))
        await asyncio.sleep(0)
        with pytest.raises(FullError, match="gate"):
            await _use(gate_)
    await waiting


async def _use(gate_: Gate) -> None:
    async with gate_.hold():
        await asyncio.sleep(0)


async def test_what_is_out_is_told_with_its_holder() -> None:
    """The task, the scope and the line of code stand in it, the longest first."""
    gate_ = Gate(3, name="db")
    async with Scope("checkout"), gate_.hold("connection 1"):
        await asyncio.sleep(1)
        async with gate_.hold():
            first, second = gate_.holdings()
            assert (first.what, first.held_s) == ("'connection 1'", 1)
            assert "test_gate.py:" in first.site
            assert first.owner == ("checkout",)
            assert not first.orphaned
            assert second.what == "a place at 'db'"
    assert gate_.holdings() == ()


async def test_what_nobody_gives_back_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """A task that ended with a place is a leak; whoever waits for it finds its line in the log."""
    gate_ = Gate(1, name="db")

    async def forgets() -> None:
        async with Scope("request"):
            await gate_.hold("connection").__aenter__()

    await asyncio.create_task(forgets(), name="forgetful")
    assert [leak.task for leak in gate_.leaks()] == ["forgetful"]
    assert gate_.statistics().leaks == 1
    with caplog.at_level(logging.WARNING, "backstay.gate"), pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await _use(gate_)
    assert "nobody gives this back: 'connection', taken" in caplog.text
    assert "request" in caplog.text


async def test_a_deadline_in_line_takes_nothing() -> None:
    """Whose time is up while it waits leaves no trace in the count."""
    gate_ = Gate(1)
    async with gate_.hold():
        with pytest.raises(TimeoutError):
            async with timeout(0.001):
                await _use(gate_)
    assert gate_.statistics().in_flight == 0
    await _use(gate_)


class Pool:
    """A pool as asyncpg's, of which the test decides what it does."""

    __module__ = "asyncpg.pool"

    def __init__(self) -> None:
        self.out = 0
        self.fails: list[str] = []

    def get_max_size(self) -> int:
        return 2

    @asynccontextmanager
    async def acquire(self, *, timeout: float | None = None) -> Any:
        await asyncio.sleep(0)
        if "acquire" in self.fails:
            raise ConnectionError("no more")
        self.out += 1
        assert self.out <= 2
        try:
            yield object()
        finally:
            self.out -= 1
            if "release" in self.fails:
                raise ConnectionError("lost")


@pytest.mark.parametrize("fails", ["acquire", "release"])
async def test_a_pool_that_fails_keeps_no_place(fails: str) -> None:
    """Whatever the pool raises, when taking out or giving in, the place comes back."""
    pool = Pool()
    gated = gate(pool, name="db")
    pool.fails = [fails]
    for _ in range(5):
        with pytest.raises(ConnectionError):
            async with gated.acquire():
                pass
    assert (gated.gate.statistics().in_flight, pool.out) == (0, 0)
    pool.fails = []
    async with gated.acquire():
        assert gated.gate.statistics().in_flight == 1
    assert gated.get_max_size() == 2, "everything else is the pool's own"
    assert "behind <Gate 'db'" in repr(gated)


async def test_what_is_held_is_not_kept_alive() -> None:
    """A connection that was given back belongs to the pool alone."""
    import weakref

    class Connection: ...

    class Own(Pool):
        __module__ = "asyncpg.pool"

        @asynccontextmanager
        async def acquire(self, *, timeout: float | None = None) -> Any:
            yield Connection()

    gated = gate(Own())
    async with gated.acquire() as connection:
        mark = weakref.ref(connection)
        assert "Connection object" in gated.gate.holdings()[0].what
    del connection
    gc.collect()
    assert mark() is None


def test_strangers_are_refused_with_what_is_known() -> None:
    """A pool that is none, and one without a bound, end in one clear line."""
    with pytest.raises(
        UsageError, match=r"knows no pool of builtins\.list: expected one of asyncpg"
    ):
        gate([])

    class Endless(Pool):
        __module__ = "asyncpg.pool"

        def get_max_size(self) -> int:
            return 0

    with pytest.raises(UsageError, match="sets no bound"):
        gate(Endless())
    assert gate(Endless(), size=3).gate.statistics().limit == 3


async def test_its_time_is_that_of_the_clock() -> None:
    """Held seconds are counted on the clock of `backstay.now()`."""
    gate_ = Gate(1)
    began = now()
    async with gate_.hold():
        await asyncio.sleep(2)
    assert gate_.statistics().use.longest_s == now() - began == 2
