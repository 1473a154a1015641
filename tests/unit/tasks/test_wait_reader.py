"""Reading what very many tasks wait for; that it says what `blocked_on` does is checked beside that."""

from __future__ import annotations

import asyncio
import gc
import threading
import types
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from dataclasses import replace
from typing import Any

import pytest

from backstay.tasks import BlockedOn, blocked_on
from backstay.tasks import _wait_reader as subject
from backstay.tasks._wait_reader import WaitReader, only_wait

HERE = __file__


async def started(*works: Callable[[], Awaitable[Any]]) -> list[asyncio.Task[Any]]:
    async def run(work: Callable[[], Awaitable[Any]]) -> None:
        await work()

    tasks = [asyncio.create_task(run(work)) for work in works]
    for _ in range(4):
        await asyncio.sleep(0)
    return tasks


async def ended(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def agreed(*works: Callable[[], Awaitable[Any]]) -> list[BlockedOn | None]:
    """Read some tasks with one reader, twice each, and compare."""
    tasks, reader = await started(*works), WaitReader()
    found = [reader.read(task) for task in tasks]
    again = [reader.read(task) for task in tasks]
    exact = [blocked_on(task) for task in tasks]
    await ended(tasks)
    assert all(one is other for one, other in zip(found, again, strict=True))
    assert found == [one and replace(one, detail="") for one in exact]
    return found


async def test_equal_waits_are_one_object() -> None:
    """Two tasks at one line wait for one thing, whatever the numbers behind it; another line is another."""
    first, second = asyncio.Queue[int](), asyncio.Queue[int]()
    second_too = asyncio.Event()

    async def pull(queue: asyncio.Queue[int], late: bool) -> None:
        if late:
            await second_too.wait()
            await queue.get()
        await queue.get()

    found = await agreed(
        lambda: pull(first, False), lambda: pull(second, False), lambda: pull(first, True)
    )
    assert found[0] is found[1]
    assert found[0] is not None
    assert found[0].label == "queue get"
    assert found[2] is not None
    assert found[2].label == "event wait"


async def test_tasks_at_several_lines_of_one_function() -> None:
    """A function with several awaits has a site for each; one that was met before is not read off the other."""

    async def two(second: bool) -> None:
        queue = asyncio.Queue[int]()
        if second:
            await queue.get()
        else:
            await queue.get()

    found = await agreed(lambda: two(False), lambda: two(True), lambda: two(False))
    assert found[0] is not None
    assert found[1] is not None
    assert found[0].label == found[1].label
    assert found[0].site != found[1].site
    assert found[0] is found[2]


async def test_the_ways_on_from_a_call() -> None:
    """Generators, async generators and futures of all sorts are followed as the judge follows them."""
    queue = asyncio.Queue[int]()
    loop = asyncio.get_running_loop()

    @types.coroutine
    def by_generator() -> Generator[Any, Any, None]:
        yield from asyncio.sleep(50).__await__()

    async def numbers() -> AsyncIterator[int]:
        yield await queue.get()

    async def iterate() -> None:
        async for _ in numbers():
            pass

    async def first() -> None:
        await anext(numbers(), None)

    async def inner() -> None:
        await queue.get()

    async def deep(left: int) -> None:
        await (deep(left - 1) if left else queue.get())

    child = asyncio.create_task(inner())
    await agreed(
        by_generator,
        iterate,
        first,
        lambda: deep(3),
        lambda: deep(100),
        lambda: asyncio.wait_for(queue.get(), 50),
        lambda: asyncio.wait_for(inner(), 50),
        lambda: asyncio.wait_for(asyncio.shield(child), 50),
        lambda: asyncio.gather(queue.get(), queue.get()),
        lambda: asyncio.shield(child),
        lambda: loop.create_future(),
        lambda: asyncio.wait_for(loop.create_future(), 50),
        lambda: asyncio.sleep(0),
    )
    await ended([child])


async def test_who_is_about_to_run_waits_for_nothing() -> None:
    """Woken tasks, and such as were never run, do not wait."""
    event = asyncio.Event()
    tasks = await started(event.wait, event.wait)
    event.set()
    await asyncio.sleep(0)
    new = asyncio.create_task(event.wait())
    reader = WaitReader()
    assert [reader.read(task) for task in [*tasks, new]] == [None] * 3
    await asyncio.wait([*tasks, new])
    assert reader.read(new) is None


async def test_an_awaitable_of_a_foreign_make_is_left_to_the_judge() -> None:
    """A hand-written iterator inside a chain is followed by the judge, with the same answer."""

    class Mine:
        def __init__(self) -> None:
            self.inside = asyncio.get_running_loop().create_future().__await__()

        def __await__(self) -> Generator[Any, Any, None]:
            return self  # type: ignore[return-value]

        def __iter__(self) -> Mine:
            return self

        def __next__(self) -> Any:
            return next(self.inside)

    async def use() -> None:
        await Mine()

    (found,) = await agreed(use)
    assert found is not None
    assert found.label == "future"


def test_a_task_that_runs_in_another_thread_does_not_wait() -> None:
    """It is asked from outside, while its loop is blocked."""
    running, release = threading.Event(), threading.Event()
    tasks: list[asyncio.Task[Any]] = []

    async def block() -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        running.set()
        release.wait(10)

    thread = threading.Thread(target=lambda: asyncio.run(block()))
    thread.start()
    running.wait(10)
    found = WaitReader().read(tasks[0])
    release.set()
    thread.join()
    assert found is None


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that generate code have chains without end; equal words stay one object all the same."""
    monkeypatch.setattr(subject, "_MOST_CHAINS", 1)
    queue = asyncio.Queue[int]()

    async def one() -> None:
        await queue.get()

    async def two() -> None:
        await one()

    found = await agreed(one, two, one)
    assert found[0] is found[1] is found[2]


async def test_a_reader_keeps_no_task_alive() -> None:
    """Neither the task nor what its calls hold."""

    class Precious:
        pass

    async def work() -> None:
        precious = Precious()
        dropped.append(weakref.ref(precious))
        await asyncio.get_running_loop().create_future()

    dropped: list[weakref.ref[Any]] = []
    tasks, reader = await started(work), WaitReader()
    assert reader.read(tasks[0]) is not None
    dropped.append(weakref.ref(tasks[0]))
    await ended(tasks)
    del tasks
    await asyncio.sleep(0)
    gc.collect()
    assert [ref() for ref in dropped] == [None, None]


async def test_a_call_with_one_place_to_wait_is_not_asked_for_its_frame() -> None:
    """Its line follows from the code, so the look leaves no frame object with each task."""

    async def one() -> None:
        await asyncio.get_running_loop().create_future()

    tasks, reader = await started(*[one] * 3), WaitReader()
    for task in tasks:
        assert reader.read(task) is not None
    frames = sum(isinstance(thing, types.FrameType) for thing in gc.get_objects())
    for task in tasks:
        reader.read(task)
    assert sum(isinstance(thing, types.FrameType) for thing in gc.get_objects()) == frames
    assert only_wait(one.__code__) is not None
    assert only_wait(agreed.__code__) is None

    def plain() -> None:
        pass

    assert only_wait(plain.__code__) is None
    await ended(tasks)
