"""WorkerPool: a fixed number of jobs at once, a bounded line, and an end that loses nothing silently."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from worker_scenes import Log, ambient_deadline, outcome

from backstay import Scope, now, timeout
from backstay import context as ambient
from backstay._base import CallRejected, GuardMoved, call_rejected, guard_moved
from backstay.errors import (
    DeadlineExceeded,
    ExpiredError,
    FullError,
    GuardMisuse,
    ShedError,
    SyncMisuse,
)
from backstay.guard._workers import WorkerPool
from backstay.tasks import current_scope, info
from backstay.testing import run_virtual


async def test_so_many_at_once_and_the_rest_in_order() -> None:
    """Six jobs of a second on two workers take three; the results come to whoever awaits them."""
    log = Log()
    async with WorkerPool(log.work, workers=2, queue=10) as pool:
        jobs = [await pool.submit(number) for number in range(6)]
        assert [job.state for job in jobs] == ["running"] * 2 + ["queued"] * 4
        assert [await job for job in jobs] == list(range(6))
        assert (now(), log.most, log.began) == (3.0, 2, list(range(6)))
    assert [job.result() for job in jobs] == list(range(6))
    assert jobs[0].name == "work#1"
    statistics = pool.statistics()
    assert (statistics.submitted, statistics.succeeded, statistics.run.longest_s) == (6, 6, 1.0)
    assert statistics.wait.longest_s == 2.0


async def test_who_finds_no_room_waits_in_turn() -> None:
    """Back-pressure: the pool holds its workers and its line, and callers wait for room in order."""
    log = Log()
    async with WorkerPool(log.work, workers=1, queue=1, name="w") as pool:
        await pool.submit("a")
        await pool.submit("b")
        callers = [asyncio.create_task(pool.submit(x)) for x in "cd"]
        await asyncio.sleep(0)
        assert pool.statistics().submitting == 2
        assert repr(pool) == "<WorkerPool 'w' open 1 of 1 busy, 1 in line>"
        assert pool._in_words() == "'w' 1 of 1 busy, 1 in line"
        with pytest.raises(FullError, match="1 jobs under way, 1 in line"):
            pool.submit_nowait("x")
        await asyncio.gather(*callers)
        assert now() == 2.0
    assert (log.ended, now()) == (["a", "b", "c", "d"], 4.0)
    assert pool.rejected == 1


async def test_who_finds_no_room_is_refused() -> None:
    """With on_full="reject" nobody waits; who listens is told."""
    log, heard = Log(), []
    unsubscribe = call_rejected.subscribe(heard.append)
    async with WorkerPool(log.work, workers=1, queue=0, name="w", on_full="reject") as pool:
        await pool.submit("a")
        with pytest.raises(FullError) as caught:
            await pool.submit("b")
    unsubscribe()
    assert caught.value.policy == "w"
    assert heard == [CallRejected("w", "workers", "full", None)]
    assert log.ended == ["a"]


async def test_in_shadow_mode_everybody_comes_in() -> None:
    """It counts whom it would refuse, whether by submit or by submit_nowait."""
    log = Log()
    async with WorkerPool(log.work, workers=1, queue=0, mode="shadow") as pool:
        for what in "abc":
            await pool.submit(what)
        pool.submit_nowait("d")
        with ambient_deadline(now()):
            await pool.submit("e", 0.0)
    assert log.ended == list("abcd")  # the deadline of the last had passed all the same
    assert pool.rejected == 5


async def test_jobs_of_one_key_follow_each_other() -> None:
    """Different keys in parallel; one key in the order in which its jobs came."""
    log = Log()
    async with WorkerPool(log.work, workers=3, queue=9, key=lambda what, s: what[0]) as pool:
        for what in ("a1", "a2", "b1", "a3", "b2", "c1"):
            await pool.submit(what, 1.0)
        await asyncio.sleep(0.5)
        assert log.began == ["a1", "b1", "c1"]
        assert [record.key for record in pool.jobs()][:2] == ["'a'", "'a'"]
    assert [set(log.ended[:3]), set(log.ended[3:5]), log.ended[5]] == [
        {"a1", "b1", "c1"},
        {"a2", "b2"},
        "a3",
    ]
    assert now() == 3.0


async def test_a_key_that_cannot_be_told_costs_no_room() -> None:
    """The error goes to the caller, and the next one finds its room."""
    log = Log()
    async with WorkerPool(log.work, workers=1, queue=0, key=lambda what, s: what[0]) as pool:
        await pool.submit("a", 1.0)
        bad, good = (asyncio.create_task(pool.submit(what, 1.0)) for what in ("", "b"))
        assert isinstance(await outcome(bad), IndexError)
        assert await (await good) == "b"
    assert pool.statistics().submitted == 2


async def test_the_newest_first() -> None:
    """With order="lifo" whoever came last is served next."""
    log = Log()
    async with WorkerPool(log.work, workers=1, queue=9, order="lifo") as pool:
        for what in "abcd":
            await pool.submit(what)
    assert log.ended == ["a", "d", "c", "b"]


async def test_errors_go_to_whoever_awaits() -> None:
    """Each time that they do; the pool goes on."""

    async def fail() -> None:
        raise KeyError("x")

    async with WorkerPool(fail, workers=1) as pool:
        job = await pool.submit()
        for _ in range(2):
            with pytest.raises(KeyError):
                await job
        with pytest.raises(KeyError):
            job.result()
        with pytest.raises(KeyError):
            await pool.run()
        assert pool.statistics().failed == 2


async def test_an_error_that_nobody_looks_at_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    """By the loop, when the job is forgotten, as that of a task."""

    async def fail() -> None:
        raise KeyError("x")

    async with WorkerPool(fail) as pool:
        await pool.submit()
        await asyncio.sleep(1)
    gc.collect()
    assert "KeyError" in caplog.text


async def test_a_job_belongs_to_the_pool_and_sees_its_callers_values() -> None:
    """Owner and dump name the pool; trace and request id are the caller's."""

    async def look() -> tuple[object, ...]:
        task = asyncio.current_task()
        assert task is not None
        scope = current_scope()
        assert scope is not None
        return scope.path, info(task).owner_path, ambient.REQUEST_ID.get(), ambient.deadline()

    async with Scope("app"), WorkerPool(look, name="looks") as pool:
        assert current_scope() is not None
        assert current_scope().name == "app"  # type: ignore[union-attr] - the block is not inside
        with ambient.bind(ambient.REQUEST_ID, "r-1"):
            path, owner, request, deadline = await pool.run()
    assert (path, owner, request, deadline) == (("app", "looks"), ("app", "looks"), "r-1", None)


async def test_the_deadline_counts_from_when_the_job_was_handed_over() -> None:
    """In line it expires without having begun; under way it is cut."""
    log = Log()
    async with WorkerPool(log.work, workers=1, queue=3, name="w", deadline=1.5) as pool:
        first = await pool.submit("a", 1.0)
        second = await pool.submit("b", 1.0)
        third = await pool.submit("c", 1.0)
        assert await first == "a"
        with pytest.raises(ExpiredError, match=r"in line for 1.5.* s when the deadline of 'w'"):
            await third
        assert now() == pytest.approx(1.5, abs=0.02)
        with pytest.raises(DeadlineExceeded, match="'w'"):
            await second
    assert (log.began, log.ended) == (["a", "b"], ["a"])
    statistics = pool.statistics()
    assert (statistics.expired, statistics.timed_out, statistics.failed) == (1, 1, 1)


async def test_the_callers_deadline_counts_as_well() -> None:
    """The earlier one ends the job, and is named; a detached pool asks the caller's no more."""
    log = Log()
    async with WorkerPool(log.work, workers=1, deadline=9.0) as pool:
        with ambient_deadline(now() + 0.5):
            job = await pool.submit("a")
            late = await pool.submit("b")
        assert (job.due, job.due_setter) == (0.5, "edge")
        with pytest.raises(DeadlineExceeded, match="edge"):
            await job
        assert isinstance(await outcome(late), ExpiredError)
    async with WorkerPool(log.work, workers=1, detached=True) as pool:
        with ambient_deadline(now() + 0.5):
            assert await pool.run("c") == "c"


async def test_nothing_is_begun_for_a_caller_that_is_out_of_time() -> None:
    """It is refused before it waits."""
    async with WorkerPool(Log().work) as pool:
        with ambient_deadline(now()), pytest.raises(ExpiredError, match="deadline has passed"):
            await pool.submit("a")
        assert pool.statistics().expired == 1


async def test_a_place_is_freed_too_late_for_a_job() -> None:
    """A job whose deadline passes in the very moment in which it could begin does not."""
    log = Log()
    async with WorkerPool(log.work, workers=1, key=lambda *_: "k") as pool:
        await pool.submit("a", 1.0)
        with ambient_deadline(1.0):
            late = await pool.submit("b", 1.0)
        after = await pool.submit("c", 1.0)
        assert isinstance(await outcome(late), ExpiredError)
        assert await after == "c"
    assert log.began == ["a", "c"]


async def test_who_is_cancelled_takes_a_job_along_that_has_not_begun() -> None:
    """One that has begun goes on, and its result can be had from the handle."""
    log = Log()
    async with WorkerPool(log.work, workers=1, queue=2) as pool:
        running, queued = await pool.submit("a"), await pool.submit("b")
        await asyncio.sleep(0.5)
        waiters = [asyncio.create_task(outcome(job)) for job in (running, queued)]
        await asyncio.sleep(0)
        for waiter in waiters:
            waiter.cancel()
        await asyncio.wait(waiters)
        assert (running.state, queued.state) == ("running", "done")
        assert await running == "a"
        with pytest.raises(asyncio.CancelledError):
            queued.result()
    assert log.began == ["a"]
    assert pool.statistics().cancelled == 1


async def test_a_job_that_two_await_ends_with_neither() -> None:
    """Only the last of those who wait takes it along."""
    async with WorkerPool(Log().work, workers=1) as pool:
        await pool.submit("a")
        job = await pool.submit("b")
        one, other = (asyncio.create_task(outcome(job)) for _ in range(2))
        await asyncio.sleep(0)
        one.cancel()
        assert await other == "b"


async def test_run_ends_with_its_caller() -> None:
    """The job is cancelled, has cleaned up, and only then the cancel goes on."""
    cleaned: list[float] = []

    async def work() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            await asyncio.sleep(1)
            cleaned.append(now())

    async with WorkerPool(work) as pool:
        with pytest.raises(DeadlineExceeded):
            async with timeout(0.5):
                await pool.run()
        assert (cleaned, now()) == ([1.5], 1.5)
        caller = asyncio.create_task(pool.run())
        await asyncio.sleep(0.5)
        caller.cancel()
        await asyncio.sleep(0.1)
        caller.cancel()  # who is impatient waits all the same
        await asyncio.wait([caller])
        assert (caller.cancelled(), cleaned) == (True, [1.5, 3.0])
    assert pool.statistics().cancelled == 2


async def test_an_error_of_clean_up_is_kept_beside_the_cancel() -> None:
    """The cancel goes on, with the error as its cause."""

    async def work() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            raise OSError("clean-up failed")

    async with WorkerPool(work) as pool:

        async def caller() -> BaseException | None:
            try:
                await pool.run()
            except asyncio.CancelledError as error:
                return error.__cause__
            return None

        task = asyncio.create_task(caller())
        await asyncio.sleep(0.5)
        task.cancel()
        assert repr(await task) == "OSError('clean-up failed')"


async def test_a_caller_whose_coroutine_is_closed_cancels_its_job() -> None:
    """It cannot wait for it."""
    log = Log()
    async with WorkerPool(log.work, workers=1) as pool:
        coroutine = pool.run("a")
        coroutine.send(None)
        coroutine.close()
        await asyncio.sleep(0.1)
        assert pool.statistics().cancelled == 1
    assert log.ended == []


async def test_a_job_can_be_cancelled_by_its_handle() -> None:
    """In line and under way; a job that is done cannot."""
    log = Log()
    async with WorkerPool(log.work, workers=1, queue=4, key=lambda *_: "k") as pool:
        jobs = [await pool.submit(what) for what in "abcd"]
        await asyncio.sleep(0.5)
        assert jobs[1].cancel()
        assert jobs[0].cancel()
        assert not jobs[1].cancel()
        assert await jobs[2] == "c"
        assert not jobs[2].cancel()
        for job in jobs[:2]:
            assert job.done()
            with pytest.raises(asyncio.CancelledError):
                job.result()
    assert log.ended == ["c", "d"]
    assert len({jobs[0], jobs[0], jobs[1]}) == 2
    assert jobs[0] == jobs[0]
    assert repr(jobs[0]) == "<Job 'work#1' done>"


async def test_any_function_can_be_a_job() -> None:
    """By `call`, as a decorator, or handed over with each job."""
    async with WorkerPool(workers=1, name="any") as pool:

        @pool
        async def double(number: int) -> int:
            """Double."""
            return 2 * number

        assert await double(4) == 8
        assert (double.__doc__, asyncio.iscoroutinefunction(double)) == ("Double.", True)
        assert await pool.call(Log().work, "a") == "a"
        assert await pool.run(Log().work, "b", seconds=0.5) == "b"
        with pytest.raises(TypeError, match="made without a function"):
            await pool.submit()
        with pytest.raises(TypeError, match="not one"):
            pool(print)  # type: ignore[arg-type]


async def test_limits_can_be_changed_while_it_works() -> None:
    """More workers begin at once, and let in who waits; what makes no sense changes nothing."""
    log, heard = Log(), []
    unsubscribe = guard_moved.subscribe(heard.append)
    async with WorkerPool(log.work, workers=1, name="w") as pool:
        callers = [asyncio.create_task(pool.submit(what)) for what in "abcd"]
        await asyncio.sleep(0.5)
        with pytest.raises(ValueError, match="at least 1 worker"):
            pool.update(workers=0)
        pool.update(workers=3, on_full="reject", deadline=7.0, mode="enforce")
        pool.update(queue=4)
        await asyncio.gather(*callers)
        assert (pool.statistics().running, pool.statistics().queued) == (3, 1)
        pool.update(workers=1)
        await asyncio.sleep(1.2)
        assert log.most == 3
        assert (await pool.submit("e")).due == now() + 7.0
    unsubscribe()
    assert isinstance(heard[0], GuardMoved)
    assert heard[0].before.startswith("workers=1 queue=1")
    assert heard[0].after.startswith("workers=3 queue=3 deadline=7.0 on_full=reject")
    assert len(heard) == 3
    pool.update(workers=2)


async def test_a_caller_that_leaves_the_line_gives_its_room_on() -> None:
    """Before and after it was given any."""
    log = Log()
    async with WorkerPool(log.work, workers=1, queue=0) as pool:
        running = await pool.submit("a")
        callers = [asyncio.create_task(pool.submit(what)) for what in "bcd"]
        await asyncio.sleep(0.5)
        callers[0].cancel()
        await running
        callers[1].cancel()  # it was given the room in this turn, and has not run
        await asyncio.wait(callers)
        assert await callers[2].result() == "d"
    assert log.ended == ["a", "d"]


async def test_a_job_may_hand_over_another() -> None:
    """Also before its own first wait."""
    log = Log()

    async def twice(left: int) -> None:
        if left:
            pool.submit_nowait(left - 1)
        await log.work(left)

    async with WorkerPool(twice, workers=1) as pool:
        await pool.submit(3)
        await asyncio.sleep(5)
    assert (log.ended, log.most) == ([3, 2, 1, 0], 1)


async def test_an_eager_loop_keeps_to_the_limit() -> None:
    """A job that runs where it is started counts before it runs."""
    if not hasattr(asyncio, "eager_task_factory"):
        pytest.skip("there are no eager tasks before Python 3.12")
    log = Log()

    async def quick(left: int) -> int:
        if left:
            pool.submit_nowait(left - 1)
        return await log.work(left, 0.0) if left % 2 else left  # type: ignore[no-any-return]

    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    async with WorkerPool(quick, workers=1, queue=2) as pool:
        assert await pool.run(4) == 4
        assert await pool.run(3) == 3
        await asyncio.sleep(1)
    assert log.most == 1
    assert pool.statistics().succeeded == 9


async def test_it_must_be_open() -> None:
    """The message says where a pool is opened."""
    pool = WorkerPool(Log().work, name="w")
    with pytest.raises(GuardMisuse, match="lifespan"):
        await pool.submit("a")
    pool.update(workers=3)
    assert pool.statistics().workers == 3


def test_it_lives_in_one_loop_and_ends_with_it() -> None:
    """A loop that was torn down leaves it closed; while it is open no other loop may use it."""
    log = Log()
    pool = WorkerPool(log.work, name="w")

    async def enter() -> None:
        await pool.__aenter__()

    async def submit() -> None:
        await pool.submit("a")

    loop = asyncio.new_event_loop()
    loop.run_until_complete(enter())
    with pytest.raises(SyncMisuse, match="in another event loop"):
        asyncio.run(submit())
    loop.close()
    with pytest.raises(ShedError):
        asyncio.run(submit())


@pytest.mark.parametrize(
    "options",
    [
        {"workers": 0},
        {"queue": -1},
        {"deadline": 0},
        {"drain": -1},
        {"on_full": "x"},
        {"order": "x"},
        {"mode": "x"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_what_makes_no_sense_is_refused(options: Any) -> None:
    """Where it is written, and not where it first hurts."""
    with pytest.raises(ValueError, match=r"not (0|-1|'x')"):
        WorkerPool(Log().work, **options)


def test_a_fatal_error_ends_the_block() -> None:
    """SystemExit of a job is nobody's result: it leaves by the loop."""

    async def leave() -> None:
        raise SystemExit(3)

    async def block() -> None:
        async with WorkerPool(leave) as pool:
            await pool.submit()
            await asyncio.sleep(9)

    with pytest.raises(SystemExit):
        run_virtual(block)
