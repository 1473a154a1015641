"""process_workers: a process that dies fails its own job and no other, and is replaced."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal

import pytest
import worker_jobs

from backstay import now
from backstay.guard._worker_processes import WorkerDied, process_workers


@pytest.mark.real_loop
async def test_jobs_run_in_processes_of_their_own() -> None:
    """Results and errors come back; a process serves one job after another."""
    async with process_workers(worker_jobs.add, workers=1, name="sums") as pool:
        assert await pool.run(1, 2) == 3
        first = await pool.call(worker_jobs.pid)
        assert first != os.getpid()
        assert await pool.call(worker_jobs.pid) == first
        with pytest.raises(ValueError, match="refused"):
            await pool.call(worker_jobs.refuse)
        assert await pool(worker_jobs.add)(2, 3) == 5
    assert pool.statistics().succeeded == 4
    assert not multiprocessing.active_children()


@pytest.mark.real_loop
async def test_a_process_that_dies_fails_its_job_alone() -> None:
    """The other worker goes on, and the next job gets a new process."""
    async with process_workers(workers=2, name="p") as pool:
        other = await pool.submit(worker_jobs.slow, 0.3)
        for deadly, code in ((worker_jobs.die, 3), (worker_jobs.kill_myself, -9)):
            with pytest.raises(WorkerDied, match=f"{deadly.__name__}.*exit code {code}"):
                await pool.run(deadly)
        assert await other == 0.3
        assert await pool.run(worker_jobs.add, 1, 2) == 3
        assert (pool.statistics().died, pool.statistics().failed) == (2, 2)


@pytest.mark.real_loop
async def test_a_process_that_dies_while_it_is_idle_is_nobodys_error() -> None:
    """The next job gets a new one."""
    async with process_workers(workers=1, name="p") as pool:
        first = await pool.run(worker_jobs.pid)
        os.kill(first, signal.SIGKILL)
        await asyncio.sleep(0.2)
        assert await pool.run(worker_jobs.pid) != first
        assert pool.statistics().died == 1
        assert pool.statistics().failed == 0


@pytest.mark.real_loop
async def test_what_still_runs_at_the_end_is_killed(caplog: pytest.LogCaptureFixture) -> None:
    """And named; nobody waits for it."""
    with caplog.at_level(logging.WARNING, "backstay.workers"):
        async with process_workers(worker_jobs.slow, workers=1, name="p", drain=0.1) as pool:
            await pool.run(0.0)
            began = now()
            job = await pool.submit(60.0)
            await asyncio.sleep(0.05)
    assert now() - began < 5
    assert "job 'slow#2', running" in caplog.text
    with pytest.raises(asyncio.CancelledError):
        await job
    assert pool.statistics().died == 0
    assert not multiprocessing.active_children()


def test_a_start_method_that_is_unknown_is_refused() -> None:
    """By multiprocessing, where the pool is made."""
    with pytest.raises(ValueError, match="spoon"):
        process_workers(worker_jobs.add, start_method="spoon")
