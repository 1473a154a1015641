"""The scheduler from outside: placement, results, cancels, errors, ends. Real threads throughout."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import uvloop
from pool_jobs import until, where

import backstay
from backstay import Key, Scope, bind, current_scope, go, remaining
from backstay.errors import DeadlineExceeded
from backstay.multiloop import Multiloop, running_multiloops
from backstay.tasks import info, installed_loops

real = pytest.mark.real_loop
TENANT = Key[str]("tenant")


@real
async def test_results_come_back() -> None:
    """Jobs run on the pool's threads, in order of starting the results are there."""
    before = threading.active_count()
    async with Multiloop("pool", procs=2) as pool:
        tasks = [pool.go(where, number) for number in range(50)]
        assert pool.procs == 2
        assert pool in running_multiloops()
        assert repr(pool) == "<Multiloop pool open procs=2 alive=50>"
    found = [task.result() for task in tasks]
    assert [value for _, value in found] == list(range(50))
    assert {name for name, _ in found} <= {"pool/0", "pool/1"}
    assert pool.statistics().started == 50
    assert pool.statistics().state == "closed"
    assert pool.statistics().alive == pool.statistics().queued == 0
    assert pool not in running_multiloops()
    assert threading.active_count() <= before


@real
async def test_it_runs_on_uvloop_too() -> None:
    """The loops are made by whatever makes loops."""

    async def kind() -> str:
        return type(asyncio.get_running_loop()).__module__

    async with Multiloop("uv", procs=1, loop_factory=uvloop.new_event_loop) as pool:
        assert await pool.go(kind) == "uvloop"


@real
async def test_the_callers_surroundings_go_along() -> None:
    """Deadline, values, trace, any context variable, and the path of the owner."""
    anything: contextvars.ContextVar[int] = contextvars.ContextVar("anything", default=0)

    async def look() -> dict[str, Any]:
        scope = current_scope()
        assert scope is not None
        task = asyncio.current_task()
        assert task is not None
        anything.set(99)
        return {
            "tenant": TENANT.get(),
            "anything": anything.get(),
            "left": remaining(),
            "path": scope.path,
            "trace": scope.trace_id,
            "site": info(task).site,
            "owner": info(task).owner_path,
        }

    backstay.install()
    async with Multiloop("pool", procs=1) as pool:
        anything.set(7)
        with bind(TENANT, "acme"):
            async with Scope("checkout", timeout=5.0, trace_id="t-9") as scope:
                task = scope.go(asyncio.sleep, 0)
                line = sys._getframe().f_lineno + 1
                seen = await pool.go(look)
                await task
        assert anything.get() == 7, "the caller's own variables are not touched"
    assert seen["tenant"] == "acme"
    assert seen["anything"] == 99
    assert 4.0 < seen["left"] <= 5.0
    assert seen["path"][-3:] == ("pool", "checkout", look.__qualname__)
    assert seen["owner"] == seen["path"]
    assert seen["trace"] == "t-9"
    assert str(seen["site"]) == f"{__file__}:{line}"


@real
async def test_a_job_may_start_tasks_and_jobs() -> None:
    """`go` stays on its loop, `pool.go` goes anywhere; both end before the job does."""

    async def child() -> str:
        await asyncio.sleep(0)
        return threading.current_thread().name

    async def job(pool: Multiloop) -> tuple[str, str, str]:
        here = go(child)
        there = pool.go(child)
        return threading.current_thread().name, await here, await there

    async with Multiloop("pool", procs=2) as pool:
        for mine, here, there in await asyncio.gather(*(pool.go(job, pool) for _ in range(20))):
            assert mine == here
            assert there in {"pool/0", "pool/1"}


@real
async def test_errors_come_back_and_are_joined() -> None:
    """Awaited they are raised there; at the end they leave as those of a scope do."""

    async def fail(number: int) -> None:
        raise ValueError(number)

    with pytest.raises(ExceptionGroup) as caught:
        async with Multiloop("pool", procs=2, on_error="collect") as pool:
            tasks = [pool.go(fail, 1), pool.go(fail, 2)]
            with pytest.raises(ValueError, match="1"):
                await tasks[0]
    assert {str(error) for error in caught.value.exceptions} == {"1", "2"}


@real
async def test_an_error_in_a_scope_inside_is_that_scopes() -> None:
    """A request that fails does not end the pool for others."""

    async def fail() -> None:
        raise ValueError("bad request")

    async with Multiloop("pool", procs=1) as pool:
        with pytest.raises(ExceptionGroup):
            async with Scope("request"):
                pool.go(fail)
        assert (await pool.go(where))[0] == "pool/0"


@real
async def test_a_cancelled_caller_cancels_the_job_where_it_runs() -> None:
    """The job's clean-up has run when the caller's task has ended."""
    ended = threading.Event()
    began = threading.Event()

    async def job() -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            ended.set()

    async with Multiloop("pool", procs=1) as pool:
        task = pool.go(job)
        await until(began.is_set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()


@real
async def test_a_job_that_has_not_started_never_does() -> None:
    """It is given up in its queue, and counted as dropped."""
    release, began = threading.Event(), threading.Event()
    ran: list[int] = []

    async def blocking() -> None:
        began.set()
        release.wait(5)

    async def never() -> None:
        ran.append(1)

    async with Multiloop("pool", procs=1) as pool:
        first = pool.go(blocking)
        await until(began.is_set)
        second = pool.go(never)
        await asyncio.sleep(0.01)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        third = pool.go(never)
        third.cancel()  # before its own first step
        release.set()
        await first
    assert ran == []
    assert pool.statistics().dropped == 2


@real
async def test_a_job_that_refuses_to_end_is_waited_for() -> None:
    """A result in spite of the cancel is a result, as with a task."""
    began = threading.Event()

    async def stubborn() -> str:
        began.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "done all the same"
        return ""

    async with Multiloop("pool", procs=1) as pool:
        task = pool.go(stubborn)
        await until(began.is_set)
        task.cancel()
        assert await task == "done all the same"


@real
async def test_the_scopes_deadline_ends_the_job() -> None:
    """The error is the deadline's, alone, and says who set it."""
    for _ in range(10):
        with pytest.raises(DeadlineExceeded, match="quick"):
            async with Multiloop("pool", procs=1) as pool, Scope("quick", timeout=0.02):
                await pool.go(asyncio.sleep, 60)


@real
async def test_a_deadline_of_the_job_itself_is_its_error() -> None:
    """It set the deadline, so it is told of it."""

    async def job() -> None:
        async with backstay.timeout(0.01):
            await asyncio.sleep(60)

    async with Multiloop("pool", procs=1, on_error="collect") as pool:
        with pytest.raises(ExceptionGroup) as caught:
            async with Scope("request"):
                pool.go(job)
    assert isinstance(caught.value.exceptions[0], DeadlineExceeded)


@real
async def test_a_cancelled_block_leaves_nothing_behind() -> None:
    """The cancel goes on, after everything has ended."""
    began = threading.Event()
    before = threading.active_count()

    async def job() -> None:
        began.set()
        await asyncio.sleep(60)

    async def main() -> None:
        async with Multiloop("pool", procs=2) as pool:
            pool.go(job)
            await asyncio.sleep(60)

    task = asyncio.create_task(main())
    await until(began.is_set)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert threading.active_count() <= before


@real
async def test_jobs_of_others_are_waited_for_at_the_end() -> None:
    """A scope beside the block has work in the pool; the pool ends after it."""
    release, began = asyncio.Event(), threading.Event()

    async def job(seconds: float) -> str:
        began.set()
        await asyncio.sleep(seconds)
        return "whole"

    async def stranger(pool: Multiloop) -> str:
        async with Scope("stranger"):
            return await pool.go(job, 0.1)

    async with Scope("app") as app:
        async with Multiloop("pool", procs=1) as pool:
            other = app.go(stranger, pool)
            await until(began.is_set)
        assert other.done() or pool.statistics().alive == 0
        assert await other == "whole"
        release.set()


@real
async def test_an_end_by_error_cancels_the_jobs_of_others() -> None:
    """What runs on loops that go away cannot go on."""
    began = threading.Event()

    async def job() -> None:
        began.set()
        await asyncio.sleep(60)

    async def stranger(pool: Multiloop) -> str:
        async with Scope("stranger"):
            try:
                await pool.go(job)
            except asyncio.CancelledError:
                return "cancelled"
        return ""

    async with Scope("app") as app:
        with pytest.raises(ZeroDivisionError):
            async with Multiloop("pool", procs=1) as pool:
                other = app.go(stranger, pool)
                await until(began.is_set)
                raise ZeroDivisionError
        assert await other == "cancelled"


@real
async def test_a_cancel_during_the_end_cancels_the_rest_and_goes_on() -> None:
    """Waiting for jobs of others can be cut short."""
    began = threading.Event()

    async def job() -> None:
        began.set()
        await asyncio.sleep(60)

    async def stranger(pool: Multiloop) -> None:
        async with Scope("stranger"):
            with pytest.raises(asyncio.CancelledError):
                await pool.go(job)

    async with Scope("app") as app:

        async def main() -> None:
            async with Multiloop("pool", procs=1) as pool:
                app.go(stranger, pool)
                await until(began.is_set)

        task = asyncio.create_task(main())
        await until(began.is_set)
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@real
async def test_orphans_of_jobs_end_with_the_loop() -> None:
    """What a job started behind its scope's back is cancelled when the loop ends."""
    ended = threading.Event()

    async def orphan() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async def job() -> None:
        global _kept
        _kept = asyncio.create_task(orphan())
        await asyncio.sleep(0)

    async with Multiloop("pool", procs=1) as pool:
        await pool.go(job)
    assert ended.is_set()


_kept: Any = None


@real
async def test_its_loops_are_seen_by_dumps() -> None:
    """They are tracked, so that a task dump shows what runs there."""
    async with Multiloop("pool", procs=2) as pool:
        assert len(pool.loops) == 2
        assert set(pool.loops) <= set(installed_loops())


@real
async def test_jobs_of_a_closed_callers_loop_are_no_harm() -> None:
    """Its threads end; the job's error is told to the handler of the loop that ran it."""
    async with Multiloop("pool", procs=1) as pool:

        async def inner() -> None:
            async with Scope("elsewhere"):
                assert (await pool.go(where))[0] == "pool/0"

        await asyncio.to_thread(asyncio.run, inner())
        assert (await pool.go(where))[0] == "pool/0"


@real
async def test_a_generator_that_is_closed_cannot_wait() -> None:
    """The block is left without waiting, and the threads end by themselves."""
    before = threading.active_count()

    async def generator() -> AsyncGenerator[Multiloop]:
        async with Multiloop("pool", procs=1) as pool:
            yield pool

    made = generator()
    pool = await anext(made)
    assert pool.procs == 1

    class Abandon(Exception):
        pass

    exits = Multiloop.__aexit__
    closing = GeneratorExit()
    coroutine = exits(pool, GeneratorExit, closing, None)
    with pytest.raises(StopIteration):
        coroutine.send(None)
    await until(lambda: threading.active_count() <= before)
    with pytest.raises(Exception):  # noqa: B017 - the block is left a second time
        await made.aclose()


def test_statistics_before_and_after() -> None:
    """A multiloop that was never entered has nothing, and ends nothing."""
    known = Multiloop("pool", procs=2).statistics()
    assert (known.state, known.procs, known.started, known.loops) == ("new", 0, 0, ())
