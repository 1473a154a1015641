"""Hand-off, and a number of loops that changes. Real threads throughout."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from pool_jobs import until, where

from backstay._base import now
from backstay.multiloop import Multiloop

real = pytest.mark.real_loop


@real
async def test_a_blocked_loop_hands_its_work_over() -> None:
    """What waits behind a synchronous call is run by the other loop, long before the call ends."""
    release, began = threading.Event(), threading.Event()

    async def spreader(pool: Multiloop) -> list[asyncio.Task[tuple[str, Any]]]:
        tasks = [pool.go(where) for _ in range(20)]
        await asyncio.sleep(0)  # they are in this loop's own queue now
        began.set()
        release.wait(10)  # the synchronous call
        return [await task for task in tasks]  # type: ignore[misc]

    async with Multiloop("pool", procs=2) as pool:
        task = pool.go(spreader, pool)
        await until(began.is_set)
        blocked_at = now()
        await until(lambda: pool.statistics().started >= 20)
        took = now() - blocked_at
        assert not release.is_set()
        release.set()
        await task
    assert took < 2.0


@real
async def test_a_resting_loop_that_is_blocked_is_not_waited_for() -> None:
    """A job that was meant for it is taken by another one."""
    release, began = threading.Event(), threading.Event()

    async def late_blocker() -> None:
        await asyncio.sleep(0.05)  # its loop goes to rest meanwhile
        began.set()
        release.wait(10)

    async with Multiloop("pool", procs=2) as pool:
        task = pool.go(late_blocker)
        await until(began.is_set)
        for _ in range(10):
            await asyncio.wait_for(asyncio.shield(pool.go(where)), 2.0)
        release.set()
        await task


@real
async def test_the_number_of_loops_can_change() -> None:
    """More take work at once; fewer finish what they have and give away the rest."""
    release, began = threading.Event(), threading.Event()

    async def blocking() -> str:
        began.set()
        release.wait(10)
        return threading.current_thread().name

    async with Multiloop("pool", procs=1) as pool:
        first = pool.go(blocking)
        await until(began.is_set)
        await pool.set_procs(3)
        assert pool.procs == 3
        found = {name for name, _ in [await pool.go(where) for _ in range(20)]}
        assert found <= {"pool/1", "pool/2"}
        await pool.set_procs(1)
        assert pool.procs == 1
        release.set()
        assert await first == "pool/0"
        assert (await pool.go(where))[0] == "pool/0"
        await until(lambda: len(pool.statistics().loops) == 1)
        with pytest.raises(ValueError, match="procs must be"):
            await pool.set_procs(0)


@real
async def test_a_retiring_loop_finishes_its_jobs() -> None:
    """What has started stays until it ends, also past its loop's retirement."""
    began = threading.Event()

    async def job(release: threading.Event) -> str:
        began.set()
        while not release.is_set():
            await asyncio.sleep(0.005)
        return threading.current_thread().name

    async with Multiloop("pool", procs=1) as pool:
        release = threading.Event()
        await pool.set_procs(2)
        tasks = [pool.go(job, release) for _ in range(10)]
        await until(lambda: pool.statistics().running == 10)
        await pool.set_procs(1)
        release.set()
        assert {await task for task in tasks} <= {"pool/0", "pool/1"}


@real
async def test_blocking_calls_in_two_loops_overlap() -> None:
    """Two loops do in half the time what blocks one."""

    async def nap() -> None:
        time.sleep(0.02)

    async with Multiloop("pool", procs=2) as pool:
        began = now()
        await asyncio.gather(*(pool.go(nap) for _ in range(10)))
        assert now() - began < 0.19
