"""The end of a pool of workers: what was taken is finished, and what is cut is named."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from worker_scenes import Log, ambient_deadline, outcome

from backstay import Scope, now
from backstay.errors import (
    DeadlineExceeded,
    GuardMisuse,
    ShedError,
)
from backstay.guard._job import Job
from backstay.guard._workers import WorkerPool


async def test_the_end_of_the_block_waits_for_what_was_taken() -> None:
    """Also for what is in line; who waits for room by then is refused, and so is who comes later."""
    log = Log()
    async with WorkerPool(log.work, workers=1, queue=1, name="w") as pool:
        await pool.submit("a")
        await pool.submit("b")
        late = asyncio.create_task(outcome(pool.submit("c")))
        late.add_done_callback(lambda _: log.began.append(now()))
        await asyncio.sleep(0)
    assert isinstance(await late, ShedError)
    assert log.began == ["a", 0.0, "b"]  # who waited for room was told at once
    assert (log.ended, now()) == (["a", "b"], 2.0)
    with pytest.raises(ShedError, match="'w' is closed"):
        await pool.submit("d")
    with pytest.raises(GuardMisuse, match="entered before"):
        await pool.__aenter__()


async def test_what_is_left_after_the_budget_is_cut_and_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What was under way is cancelled, what was in line fails, and both are in the log."""
    log = Log()
    with caplog.at_level(logging.WARNING, "backstay.workers"):
        async with WorkerPool(log.work, workers=1, name="w", drain=1.5) as pool:
            running, queued = await pool.submit("a", 99.0), await pool.submit("b")
            ended = await pool.submit("c") if pool.statistics().queue > 1 else None
    assert ended is None
    assert now() == 1.5
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(ShedError, match="did not begin 'work#2'"):
        await queued
    assert "job 'work#1', running for 1.5 s (from " in caplog.text
    assert "job 'work#2', queued for 1.5 s (from " in caplog.text
    assert "test_workers_end.py:" in caplog.text
    assert (pool.statistics().dropped, pool.statistics().cancelled) == (1, 1)


async def test_close_tells_what_it_had_to_cut() -> None:
    """And waits a little for what it cancelled; a pool that was never open is just closed."""
    cleaned: list[str] = []

    async def work(seconds: float) -> None:
        try:
            await asyncio.sleep(99)
        finally:
            await asyncio.sleep(seconds)
            cleaned.append("work")

    async with WorkerPool(work, workers=2, name="w") as pool:
        await pool.submit(0.5)
        await pool.submit(2.0)
        await asyncio.sleep(0)
        left = await pool.close(drain=0)
        assert [record.name for record in left] == ["work#1", "work#2"]
        assert (cleaned, now()) == (["work"], 1.0)  # the second one takes longer than its last call
    assert (cleaned, now()) == (["work", "work"], 2.0)  # but the block waits for it
    never = WorkerPool(work)
    assert await never.close() == ()
    with pytest.raises(ShedError):
        await never.submit(1.0)


async def test_the_clean_up_of_a_job_is_not_torn() -> None:
    """Whatever ends the block, a job gets one cancel and not two."""
    cleaned: list[float] = []

    async def work() -> None:
        try:
            await asyncio.sleep(99)
        finally:
            await asyncio.sleep(2)
            cleaned.append(now())

    async def block(error: type[Exception] | None) -> None:
        async with WorkerPool(work, drain=0) as pool:
            await pool.submit()
            await asyncio.sleep(0)
            if error is not None:
                raise error

    await block(None)
    with pytest.raises(KeyError):
        await block(KeyError)
    task = asyncio.create_task(block(None))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    with pytest.raises(KeyError):
        async with WorkerPool(work) as pool:
            job = await pool.submit()
            await asyncio.sleep(0)
            job.cancel()
            await asyncio.sleep(1)
            raise KeyError
    assert cleaned == [2.0, 4.0, 6.0, 8.0]


async def test_a_cancel_that_comes_while_an_error_leaves_is_not_lost() -> None:
    """The error leaves first, and the cancel strikes behind it."""

    async def work() -> None:
        try:
            await asyncio.sleep(99)
        finally:
            await asyncio.sleep(2)

    async def block() -> str:
        try:
            async with WorkerPool(work) as pool:
                await pool.submit()
                await asyncio.sleep(0)
                raise KeyError
        except KeyError:
            await asyncio.sleep(1)
        return "not cancelled"

    task = asyncio.create_task(block())
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait([task])
    assert (task.cancelled(), now()) == (True, 2.0)


async def test_an_error_in_the_block_cuts_at_once() -> None:
    """What was taken is work for nobody."""
    log = Log()
    with pytest.raises(KeyError):
        async with WorkerPool(log.work, workers=1) as pool:
            await pool.submit("a")
            await asyncio.sleep(0.5)
            raise KeyError
    assert (log.began, log.ended, now()) == (["a"], [], 0.5)


async def test_a_cancel_of_the_block_cuts_at_once() -> None:
    """In the body, and while the end waits for jobs."""
    log = Log()

    async def block(pause: float) -> None:
        async with WorkerPool(log.work, workers=1) as pool:
            await pool.submit("a", 5.0)
            await asyncio.sleep(pause)

    for pause in (9.0, 0.5):
        began = now()
        task = asyncio.create_task(block(pause))
        await asyncio.sleep(1.0)
        task.cancel()
        await asyncio.wait([task])
        assert (task.cancelled(), now()) == (True, began + 1.0)
    assert log.ended == []


async def test_a_deadline_around_the_block_cuts_it() -> None:
    """Enforced by a scope outside, or by the pool's own where nobody else would."""
    log = Log()
    with pytest.raises(DeadlineExceeded):
        async with Scope("outside", timeout=0.5), WorkerPool(log.work) as pool:
            first = await pool.submit("a")
            await asyncio.sleep(9)
    first.look_away()  # or its error would be reported, some time later
    with pytest.raises(DeadlineExceeded), ambient_deadline(now() + 0.5):
        async with WorkerPool(log.work, workers=1, detached=True) as pool:
            running, queued = await pool.submit("b"), await pool.submit("c")
            await asyncio.sleep(9)
    assert log.ended == []
    assert running.done()
    running.look_away()
    assert isinstance(await outcome(queued), ShedError)


async def test_a_block_that_is_closed_from_outside_leaves_nobody_waiting() -> None:
    """A coroutine that is closed may not wait, but its jobs are over."""
    log = Log()
    jobs: list[Job[Any]] = []

    async def block() -> None:
        async with WorkerPool(log.work, workers=1) as pool:
            jobs.extend([await pool.submit("a"), await pool.submit("b")])
            await asyncio.sleep(9)

    async def host() -> None:
        coroutine = block()
        coroutine.send(None)
        await asyncio.sleep(0.5)
        coroutine.close()

    await asyncio.create_task(host())
    await asyncio.sleep(0)
    assert [job.done() for job in jobs] == [True, True]
    assert isinstance(await outcome(jobs[1]), ShedError)
