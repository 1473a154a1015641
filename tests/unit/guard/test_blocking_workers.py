"""thread_workers: functions that block have a bounded number of places, and keep them until they return."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable
from typing import Any

import pytest

from backstay import Scope, now, remaining, timeout
from backstay import context as ambient
from backstay.errors import DeadlineExceeded, ShedError
from backstay.guard._blocking_workers import thread_workers


class Gate:
    """Something that a thread blocks at until it is opened."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self.inside = 0
        self.most = 0
        self._guard = threading.Lock()

    def pass_through(self, what: Any = None) -> Any:
        with self._guard:
            self.inside += 1
            self.most = max(self.most, self.inside)
        assert self._open.wait(10)
        with self._guard:
            self.inside -= 1
        return what

    def open(self) -> None:
        self._open.set()


async def until(condition: Any) -> None:
    """Give threads time."""
    end = now() + 5
    while not condition():
        assert now() < end, "this took too long"
        await asyncio.sleep(0.001)


async def outcome(awaitable: Awaitable[Any]) -> Any:
    """Return the result, or the error."""
    try:
        return await awaitable
    except Exception as error:
        return error


@pytest.mark.real_loop
async def test_so_many_threads_and_no_more() -> None:
    """Results and errors come to whoever awaits; the rest waits its turn."""
    gate = Gate()
    async with thread_workers(gate.pass_through, workers=2, queue=8, name="gates") as pool:
        jobs = [await pool.submit(number) for number in range(6)]
        await until(lambda: gate.inside == 2)
        assert (pool.statistics().running, pool.statistics().queued) == (2, 4)
        gate.open()
        assert [await job for job in jobs] == list(range(6))
        assert await pool.run("more") == "more"
    assert gate.most == 2
    assert not [t for t in threading.enumerate() if t.name.startswith("gates")]


@pytest.mark.real_loop
async def test_a_job_that_runs_out_of_time_keeps_its_place_until_it_returns() -> None:
    """Its caller goes on at once; nobody else gets the place before; and that is counted."""
    gate = Gate()
    async with thread_workers(gate.pass_through, workers=1, key=lambda *_: "k") as pool:
        with pytest.raises(DeadlineExceeded):
            async with timeout(0.02):
                await pool.run("a")
        assert pool.jobs()[0].state == "overrunning"
        statistics = pool.statistics()
        assert (statistics.running, statistics.overrunning) == (1, 1)
        job = await pool.submit("b")
        await asyncio.sleep(0.02)
        assert (job.state, gate.inside) == ("queued", 1)
        gate.open()
        assert await job == "b"
        assert pool.statistics().overrunning == 0
    assert gate.most == 1


@pytest.mark.real_loop
async def test_a_job_cancelled_by_its_handle_is_over_for_its_caller() -> None:
    """And an error that it raises later is nobody's."""
    gate = Gate()

    def fail() -> None:
        gate.pass_through()
        raise KeyError

    async with thread_workers(fail, workers=1, deadline=5.0) as pool:
        job = await pool.submit()
        await until(lambda: gate.inside == 1)
        assert job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        assert not job.cancel()
        gate.open()
        await until(lambda: not pool.jobs())
        assert pool.statistics().cancelled == 1
        assert isinstance(await outcome(pool.run()), KeyError)


@pytest.mark.real_loop
async def test_a_thread_sees_its_callers_values_and_the_deadline_of_the_job() -> None:
    """So that it can hand them on."""

    def look() -> tuple[str | None, float | None]:
        return ambient.REQUEST_ID.get(), remaining()

    async with thread_workers(workers=1, deadline=5.0) as pool:
        with ambient.bind(ambient.REQUEST_ID, "r-1"):
            request, left = await pool.call(look)
    assert request == "r-1"
    assert left is not None
    assert 4.0 < left <= 5.0


@pytest.mark.real_loop
async def test_what_does_not_return_in_time_is_named_and_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The block ends; the thread runs on and calls into no loop that is gone."""
    gate = Gate()
    with caplog.at_level(logging.WARNING, "backstay.workers"):
        pool = thread_workers(gate.pass_through, workers=1, name="gates", drain=0.02)
        pool_last_call = pytest.MonkeyPatch()
        pool_last_call.setattr("backstay.guard._worker_core._LAST_CALL_S", 0.02)
        try:
            async with Scope("outside"), pool:
                running, queued = await pool.submit("a"), await pool.submit("b")
                await until(lambda: gate.inside == 1)
        finally:
            pool_last_call.undo()
    assert "job 'pass_through#1', running for" in caplog.text
    with pytest.raises(asyncio.CancelledError):
        await running
    assert isinstance(await outcome(queued), ShedError)
    statistics = pool.statistics()
    assert (statistics.overrunning, statistics.dropped) == (1, 1)
    gate.open()
    await until(lambda: gate.inside == 0)
    await asyncio.sleep(0.01)
    assert pool.statistics().overrunning == 1


@pytest.mark.real_loop
async def test_plain_functions_only() -> None:
    """An async function in a thread would return a coroutine that nobody awaits."""

    async def work() -> None: ...

    def double(number: int) -> int:
        """Double."""
        return 2 * number

    with pytest.raises(TypeError, match="use WorkerPool"):
        thread_workers(work)
    async with thread_workers(workers=1) as pool:
        with pytest.raises(TypeError, match="is async"):
            pool(work)
        with pytest.raises(TypeError, match="is async"):
            await pool.call(work)
        doubled = pool(double)
        assert await doubled(4) == 8
        assert (doubled.__name__, doubled.__doc__) == ("double", "Double.")


@pytest.mark.real_loop
async def test_stop_iteration_is_an_error_like_any_other() -> None:
    """No future takes it, and a job must not hang for that."""
    async with thread_workers(next, workers=1) as pool:
        assert "StopIteration" in str(await outcome(pool.run(iter(()))))
