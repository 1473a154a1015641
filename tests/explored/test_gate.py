"""A gate in front of a pool, under thousands of schedules: no place is lost, none is given twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from courses import together

from backstay.errors import FullError
from backstay.guard import Gate
from backstay.integrations.gates import gate

FULL = 10_000
QUICK = 150
LEGAL = (ConnectionError, FullError)
PLACES = 2


class Pool:
    """A pool as asyncpg's: awaits in taking out and in giving in, and fails now and then."""

    __module__ = "asyncpg.pool"

    def __init__(self) -> None:
        self.out = 0
        self.calls = 0

    def get_max_size(self) -> int:
        return PLACES

    @asynccontextmanager
    async def acquire(self, *, timeout: float | None = None) -> AsyncGenerator[Any, None]:
        self.calls += 1
        number = self.calls
        await asyncio.sleep(0)
        if number == 2:
            raise ConnectionError
        self.out += 1
        assert self.out <= PLACES, "more got through than the pool has"
        try:
            yield number
            await asyncio.sleep(0)
        finally:
            self.out -= 1


def check(gate_: Gate) -> None:
    seen = gate_.statistics()
    assert (seen.in_flight, seen.queued) == (0, 0)
    assert gate_.holdings() == ()
    assert gate_._free == PLACES


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_no_place_is_lost_in_front_of_a_pool() -> None:
    """Five callers, two places, a pool that fails once, cancels anywhere."""
    pool = Pool()
    gated = gate(pool, name="x", queue=5)

    async def use() -> None:
        async with gated.acquire():
            await asyncio.sleep(0)

    await together(*(use() for _ in range(5)), legal=LEGAL)
    assert pool.out == 0
    check(gated.gate)


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel="systematic")
async def test_who_is_cancelled_leaves_the_place_to_the_next() -> None:
    """Each await of a holder and of one in line is struck in turn; all the others get through."""
    gate_ = Gate(PLACES, 5, name="x")
    through = 0

    async def use() -> None:
        nonlocal through
        async with gate_.hold("it"):
            await asyncio.sleep(0)
            through += 1

    results = await together(*(use() for _ in range(4)), legal=LEGAL)
    assert through >= 3
    assert sum(result is None for result in results) >= 3
    check(gate_)
    assert gate_.statistics().use.count >= through
