"""Threads and the jobs of executors, in a dump and in its text."""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import threading
import time
import weakref
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

import backstay
from backstay import Scope
from backstay.guard import thread_workers
from backstay.observe.dump import (
    Dump,
    ExecutorSight,
    ThreadSight,
    _executors,
    _threads,
    document,
    snapshot,
    threads,
    to_text,
)

HERE = __file__


class Stage:
    """Functions that hang in threads until the curtain falls."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.on = threading.Semaphore(0)

    def hang(self, secret: str = "") -> None:
        self.on.release()
        self.over.wait(20)

    def wait_for(self, actors: int) -> None:
        for _ in range(actors):
            assert self.on.acquire(timeout=10)


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.over.set()


@asynccontextmanager
async def tracked() -> AsyncIterator[None]:
    backstay.install()
    try:
        yield
    finally:
        backstay.uninstall()


def named(found: list[ThreadSight], name: str) -> ThreadSight:
    (one,) = [one for one in found if one.name == name]
    return one


def pool(found: list[ExecutorSight], name: str) -> ExecutorSight:
    (one,) = [one for one in found if one.name == name]
    return one


def test_a_thread_is_told_with_its_place(stage: Stage) -> None:
    """Name, numbers, whether it is a daemon, the line it stands at; its frames when asked for."""
    thread = threading.Thread(target=stage.hang, name="lurker", daemon=True)
    thread.start()
    stage.wait_for(1)
    found, _, left_out = threads([])
    lurker = named(found, "lurker")
    assert (lurker.native_id, lurker.daemon, lurker.own, lurker.current) == (
        thread.native_id,
        True,
        False,
        False,
    )
    assert lurker.site.startswith(f"{HERE}:")
    assert (lurker.stack, lurker.loop, lurker.executor, lurker.job) == ((), None, None, None)
    assert found[0].name == "MainThread"
    assert left_out == 0
    lurker = named(threads([], stacks=True)[0], "lurker")
    assert [step.function for step in lurker.stack][3] == "Stage.hang"
    stage.over.set()
    thread.join()


def test_who_asks_is_told_without_the_asking() -> None:
    """The thread that takes the dump ends where it asked, and not in the dump's own code."""
    found, _, _ = threads([], stacks=True)
    me = [one for one in found if one.current]
    assert [one.stack[-1].function for one in me] == ["test_who_asks_is_told_without_the_asking"]


def test_jobs_of_the_default_executor_are_counted_by_function(stage: Stage) -> None:
    """Those that run with their line, those in line with the age of the task that waits for the first."""

    async def main() -> Dump:
        asyncio.get_running_loop().set_default_executor(executor)
        async with tracked(), Scope("s") as scope:
            for _ in range(5):
                scope.go(asyncio.to_thread, stage.hang, "hunter2")
            await asyncio.sleep(0)
            stage.wait_for(2)
            taken = snapshot()
            stage.over.set()
        return taken

    with ThreadPoolExecutor(2, thread_name_prefix="pool") as executor:
        taken = asyncio.run(main())
    made = pool(list(taken.executors), "pool")
    assert (made.default, made.threads, made.max_threads) == (True, 2, 2)
    assert (made.busy, made.queued) == (2, 3)
    running, queued = made.jobs
    assert (running.function, running.state, running.count) == ("Stage.hang", "running", 2)
    assert running.site.startswith(f"{HERE}:")
    assert (queued.function, queued.state, queued.count) == ("Stage.hang", "queued", 3)
    assert queued.site.endswith(f"test_dump_threads.py:{Stage.hang.__code__.co_firstlineno}")
    assert queued.age_s is not None
    assert 0 <= queued.age_s < 60
    workers = [one for one in taken.threads if one.executor == "pool"]
    assert [one.job for one in workers] == ["Stage.hang"] * 2
    assert "hunter2" not in json.dumps([one.to_json() for one in taken.executors])


def test_an_executor_without_a_loop_is_found_by_its_threads(stage: Stage) -> None:
    """Partial functions and functions in C are named as far as they can be."""
    lock = threading.Lock()
    lock.acquire()
    with ThreadPoolExecutor(2, thread_name_prefix="own") as executor:
        executor.submit(stage.hang)
        executor.submit(lock.acquire)
        stage.wait_for(1)
        while not any(
            one.job == "a function that is not written in Python" for one in threads([])[0]
        ):
            stage.over.wait(0.01)
        executor.submit(functools.partial(functools.partial(stage.hang, "x")))
        executor.submit(len, "x")
        executor.submit(json.dumps, "x")
        _, pools, _ = threads([])
        stage.over.set()
        lock.release()
    made = pool(pools, "own")
    assert (made.default, made.busy, made.queued) == (False, 2, 3)
    told = {(job.function, job.state): (job.count, job.age_s) for job in made.jobs}
    assert told == {
        ("Stage.hang", "running"): (1, None),
        ("a function that is not written in Python", "running"): (1, None),
        ("Stage.hang", "queued"): (1, None),
        ("len", "queued"): (1, None),
        ("dumps", "queued"): (1, None),
    }


def test_jobs_of_our_own_workers_carry_the_name_of_the_function(stage: Stage) -> None:
    """What hands a function to its thread is not the job."""

    async def main() -> list[ExecutorSight]:
        async with thread_workers(stage.hang, name="render", workers=1) as workers, Scope("s") as s:
            s.go(workers.run)
            while not stage.on.acquire(blocking=False):
                await asyncio.sleep(0)
            pools = threads([])[1]
            stage.over.set()
        return pools

    made = pool(asyncio.run(main()), "render")
    assert [job.function for job in made.jobs] == ["Stage.hang"]


def test_idle_workers_run_nothing() -> None:
    """A thread that waits for a job is a worker, and idle."""
    with ThreadPoolExecutor(1, thread_name_prefix="lazy") as executor:
        executor.submit(int).result()
        deadline = time.perf_counter() + 10
        while time.perf_counter() < deadline:
            found, pools, _ = threads([])
            if pool(pools, "lazy").busy == 0:
                break
        assert named(found, "lazy_0").job is None
        assert named(found, "lazy_0").executor == "lazy"
        text = to_text(document(stacks=True), width=200)
    assert "thread 'lazy_0' [worker of lazy, idle" in text
    assert "executor lazy" not in text


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("busy", [False, True])
def test_the_loop_of_a_thread_is_told(stage: Stage, factory: Any, busy: bool) -> None:
    """Which loop a thread runs, how many tasks it has and which one runs; idle or blocked."""
    ready = threading.Event()

    loops: list[asyncio.AbstractEventLoop] = []
    over = asyncio.Event()

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        async with tracked(), Scope("s") as scope:
            scope.go(over.wait)
            if busy:
                ready.set()
                stage.hang()
            else:
                asyncio.get_running_loop().call_later(0.05, ready.set)

    def run() -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main())

    thread = threading.Thread(target=run, name="looper")
    thread.start()
    assert ready.wait(10)
    if busy:
        stage.wait_for(1)
    looper = named(threads()[0], "looper")
    stage.over.set()
    loops[0].call_soon_threadsafe(over.set)
    thread.join()
    assert looper.loop is not None
    assert looper.loop.kind == (
        "uvloop.Loop" if "uvloop" in factory.__module__ else "_UnixSelectorEventLoop"
    )
    assert looper.loop.tasks == 2
    assert (looper.loop.running is not None) == busy


def test_a_loop_that_is_not_tracked_is_a_loop_all_the_same() -> None:
    """Its thread says that it runs one, and nothing more is claimed."""

    async def main() -> ThreadSight:
        return next(one for one in threads([])[0] if one.current)

    seen = asyncio.run(main())
    assert seen.loop is not None
    assert (seen.loop.kind, seen.loop.tasks) == ("", 0)


def test_the_document_is_bounded(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads, frames and queued jobs beyond the limits are told as numbers."""
    monkeypatch.setattr(_threads, "_MOST_THREADS", 1)
    monkeypatch.setattr(_threads, "_MOST_FRAMES", 2)
    monkeypatch.setattr(_executors, "_MOST_QUEUED", 2)
    with ThreadPoolExecutor(1, thread_name_prefix="full") as executor:
        for _ in range(5):
            executor.submit(stage.hang)
        stage.wait_for(1)
        found, pools, left_out = threads([], stacks=True)
        text = to_text(document(), width=200)
        stage.over.set()
    assert len(found) == 1
    assert left_out >= 1
    assert len(found[0].stack) == 3
    assert found[0].stack[1].function.startswith("… ")
    made = pool(pools, "full")
    assert made.queued == 4
    assert [job.count for job in made.jobs] == [1, 2]
    assert f"… and {left_out} thread" in text


def test_the_text_shows_executors_and_threads(stage: Stage) -> None:
    """One line each in the table; with stacks all frames, workers that stand alike together."""
    thread = threading.Thread(target=stage.hang, name="lurker", daemon=True)
    thread.start()
    with ThreadPoolExecutor(3, thread_name_prefix="img") as executor:
        for _ in range(5):
            executor.submit(stage.hang)
        stage.wait_for(4)
        table = to_text(document(), width=200)
        long = to_text(document(stacks=True), width=200)
        stage.over.set()
    thread.join()
    assert (
        "executor img  3 of 3 threads busy, 2 jobs queued\n  3 × Stage.hang, running at tests/unit/"
        in table
    )
    assert "  2 × Stage.hang, queued at tests/unit/observe/" in table
    assert "thread 'lurker' [daemon, native " in table
    assert "'img_0'" not in table
    assert "thread 'img_0' [worker of img, runs Stage.hang, native " in long
    assert "… and 2 more like it" in long
    assert "    Stage.hang  " in long


def test_a_dump_keeps_no_job_alive(stage: Stage) -> None:
    """Neither a queued function nor the executor stays because somebody looked."""

    class Job:
        def __call__(self) -> None:
            pass

    executor = ThreadPoolExecutor(1, thread_name_prefix="brief")
    executor.submit(stage.hang)
    stage.wait_for(1)
    job = Job()
    held = [weakref.ref(job), weakref.ref(executor)]
    executor.submit(job)
    taken = snapshot(stacks=True)
    assert pool(list(taken.executors), "brief").jobs[1].function.endswith("Job")
    stage.over.set()
    executor.shutdown()
    del job, executor
    gc.collect()
    assert [one() for one in held] == [None, None]
    assert taken.threads
