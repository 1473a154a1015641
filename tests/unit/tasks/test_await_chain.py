"""The way from a task to what it waits for."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any

import pytest

from backstay.tasks import ChainFrame, await_chain
from backstay.tasks._await_chain import walk

HERE = __file__


def functions(task: asyncio.Task[Any]) -> list[str]:
    return [step.function.rpartition(".")[2] for step in await_chain(task)]


async def settled(task: asyncio.Task[Any]) -> asyncio.Task[Any]:
    for _ in range(3):
        await asyncio.sleep(0)
    return task


async def inner() -> None:
    await asyncio.get_running_loop().create_future()


async def outer() -> None:
    await inner()


async def test_calls_are_shown_outermost_first_with_their_lines() -> None:
    """Each step names its function, its file and the line that awaits."""
    task = await settled(asyncio.create_task(outer()))
    first, second = await_chain(task)
    line = inspect.getsourcelines(outer)[1] + 1
    assert first == ChainFrame("outer", HERE, line)
    assert second.function == "inner"
    assert str(first) == f"outer at {HERE}:{line}"
    task.cancel()


async def test_a_task_that_has_not_started_shows_its_coroutine() -> None:
    """Before the first step there is one frame, and nothing it waits for."""
    task = asyncio.create_task(outer())
    assert functions(task) == ["outer"]
    task.cancel()


async def test_a_finished_task_has_no_chain() -> None:
    """When there is nothing left to run there is nothing to show."""
    task = asyncio.create_task(asyncio.sleep(0))
    await task
    assert await_chain(task) == ()


async def numbers() -> AsyncIterator[int]:
    try:
        yield 1
    except ValueError:
        await inner()
    await inner()


async def iterating() -> None:
    async for _ in numbers():
        pass


async def asking_next() -> None:
    generator = numbers()
    await anext(generator)
    await anext(generator, None)


async def throwing() -> None:
    generator: Any = numbers()
    await anext(generator)
    await generator.athrow(ValueError)


async def sending() -> None:
    generator: Any = numbers()
    await generator.asend(None)
    # What is sent in is an awaitable too, and must not be taken for the next link.
    await generator.asend(asyncio.get_running_loop().create_future())


@pytest.mark.parametrize("way", [iterating, asking_next, throwing, sending])
async def test_async_generators_are_looked_through(way: Callable[[], Any]) -> None:
    """The links written in C between a generator and who iterates it do not end the chain."""
    task = await settled(asyncio.create_task(way()))
    assert functions(task) == [way.__name__, "numbers", "inner"]
    assert asyncio.isfuture(walk(task).leaf)
    task.cancel()


class ByGenerator:
    def __await__(self) -> Generator[Any, None, None]:
        yield from inner().__await__()


class ByWrapper:
    def __await__(self) -> Any:
        return inner().__await__()


class Relay:
    """An iterator written by hand, as some libraries return from `__await__`."""

    def __init__(self, target: Any) -> None:
        self.target = target

    def __await__(self) -> Relay:
        return self

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self.target.send(None)


async def awaiting(thing: Any) -> None:
    await thing


async def test_custom_awaitables_are_looked_through() -> None:
    """`__await__` may be a generator, hand out a coroutine's, or be an iterator around one."""
    task = await settled(asyncio.create_task(awaiting(ByGenerator())))
    assert functions(task) == ["awaiting", "__await__", "inner"]
    task.cancel()
    task = await settled(asyncio.create_task(awaiting(ByWrapper())))
    assert functions(task) == ["awaiting", "inner"]
    task.cancel()
    task = await settled(asyncio.create_task(awaiting(Relay(inner()))))
    assert functions(task) == ["awaiting", "inner"]
    task.cancel()


class Opaque:
    """An awaitable that shows nothing of what is inside it."""

    def __await__(self) -> Opaque:
        return self

    def __iter__(self) -> Opaque:
        return self

    def __init__(self) -> None:
        self.future: Any = None

    def __next__(self) -> Any:
        future = asyncio.get_running_loop().create_future()
        future._asyncio_future_blocking = True
        return future


async def test_an_opaque_awaitable_still_has_a_future() -> None:
    """Where the chain cannot be followed, the task itself knows the future it sleeps on."""
    task = await settled(asyncio.create_task(awaiting(Opaque())))
    assert functions(task) == ["awaiting"]
    assert asyncio.isfuture(walk(task).leaf)
    task.cancel()


class Circular(Opaque):
    """An awaitable that holds the coroutine which awaits it."""


async def test_a_circle_ends() -> None:
    """An awaitable that leads back to its own coroutine does not hang the walk."""
    circle = Circular()
    circle.future = coroutine = awaiting(circle)
    task = await settled(asyncio.create_task(coroutine))
    assert functions(task) == ["awaiting"]
    task.cancel()
    circle.future = None


async def deep(levels: int) -> None:
    if levels:
        await deep(levels - 1)
    await inner()


@pytest.fixture
def room_to_recurse() -> Iterator[None]:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    yield
    sys.setrecursionlimit(limit)


@pytest.mark.parametrize("levels", [200, 3_000])
def test_depth_is_bounded(levels: int, room_to_recurse: None) -> None:
    """Of a very deep chain both ends are shown, with a mark for what was left out."""
    frames: list[ChainFrame] = []

    async def main() -> None:
        task = asyncio.create_task(deep(levels))
        await asyncio.sleep(0)
        frames.extend(await_chain(task))
        assert asyncio.isfuture(walk(task).leaf)
        task.cancel()
        await asyncio.wait([task])

    worker = threading.Thread(target=lambda: asyncio.run(main()))
    previous = threading.stack_size(256 * 1024 * 1024)  # Python 3.11 recurses in C here
    worker.start()
    threading.stack_size(previous)
    worker.join()
    assert len(frames) == 129
    (gap,) = [frame for frame in frames if not frame.file]
    assert gap.function == f"… {levels + 2 - 128} frames left out"
    assert str(gap) == gap.function
    assert frames[-1].function == "inner"


async def test_the_running_task_shows_its_plain_functions_too() -> None:
    """Who asks about itself sees where it stands, without our own frames."""

    def plain() -> list[str]:
        task = asyncio.current_task()
        assert task is not None
        return functions(task)

    async def me() -> list[str]:
        return plain()

    assert (await asyncio.create_task(me()))[:2] == ["me", "plain"]


def stuck(release: threading.Event) -> None:
    release.wait(10)


def test_a_blocked_loop_can_be_looked_at_from_another_thread() -> None:
    """While the loop is blocked, the chain of the running task ends in the call that blocks it."""
    tasks: list[asyncio.Task[Any]] = []
    started, release = threading.Event(), threading.Event()

    async def blocking() -> None:
        started.set()
        stuck(release)

    async def main() -> None:
        tasks.append(asyncio.create_task(blocking()))
        tasks.append(asyncio.create_task(outer()))
        await asyncio.wait(tasks[:1])
        tasks[1].cancel()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    started.wait(10)
    while "wait" not in (seen := functions(tasks[0])):
        time.sleep(0.001)
    assert seen[:3] == ["blocking", "stuck", "wait"]
    assert functions(tasks[1]) == ["outer"]  # not started: its turn has not come
    release.set()
    thread.join()


def test_a_deep_running_stack_is_cut() -> None:
    """The live frames of a running task are bounded like suspended ones."""

    def dive(levels: int, task: asyncio.Task[Any]) -> tuple[ChainFrame, ...]:
        return dive(levels - 1, task) if levels else await_chain(task)

    async def main() -> tuple[ChainFrame, ...]:
        task = asyncio.current_task()
        assert task is not None
        return dive(400, task)

    frames = asyncio.run(main())
    assert len(frames) == 129
    assert frames[-1].function.endswith("dive")


def test_looking_while_the_loop_runs_never_raises() -> None:
    """A chain that changes under our eyes gives what was seen of it, not an error."""
    tasks: list[asyncio.Task[Any]] = []
    stop = threading.Event()

    async def busy() -> None:
        while not stop.is_set():
            await deep()
            await asyncio.sleep(0)

    async def deep() -> None:
        for _ in range(3):
            async for _ in ticks():
                pass

    async def ticks() -> AsyncIterator[int]:
        await asyncio.sleep(0)
        yield 1

    async def main() -> None:
        tasks.extend(asyncio.create_task(busy()) for _ in range(20))
        await asyncio.wait(tasks)

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    known = {"busy", "deep", "ticks", "sleep", "__sleep0"}
    try:
        for _ in range(2_000):
            for task in tasks[:3]:
                # A running task may be anywhere, also in the loop's own code that it calls.
                assert not functions(task) or functions(task)[0] in known
    finally:
        stop.set()
        thread.join()


class Broken:
    def get_coro(self) -> Any:
        raise RuntimeError("no coroutine here")


class Foreign:
    """A task of somebody else's making."""

    def __init__(self, coroutine: Any) -> None:
        self.coroutine = coroutine

    def get_coro(self) -> Any:
        return self.coroutine


async def test_foreign_task_types_are_served() -> None:
    """Whatever has a `get_coro` has a chain; whatever fails in it has none."""
    coroutine: Any = outer()
    assert functions(Foreign(coroutine)) == ["outer"]  # type: ignore[arg-type]
    coroutine.close()
    assert await_chain(Foreign(None)) == ()  # type: ignore[arg-type]
    assert await_chain(Broken()) == ()  # type: ignore[arg-type]


class Precious:
    """Something that must die when the task drops it."""


async def test_looking_keeps_nothing_alive() -> None:
    """An object that the task drops after we looked dies at once (`f_locals` would keep it)."""
    gate = asyncio.Event()
    dropped: list[weakref.ref[Precious]] = []

    async def owner() -> None:
        precious = Precious()
        dropped.append(weakref.ref(precious))
        await gate.wait()
        del precious
        await inner()

    task = await settled(asyncio.create_task(owner()))
    chain = await_chain(task)
    assert dropped[0]() is not None
    gate.set()
    await settled(task)
    assert dropped[0]() is None
    assert functions(task) == ["owner", "inner"]
    kept = gc.get_referents(*chain)
    assert {type(thing) for thing in kept} <= {str, int, type}
    task.cancel()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
async def test_eager_tasks() -> None:
    """A task that started before it was scheduled has the same chain."""
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    try:
        task = loop.create_task(outer())
        assert functions(task) == ["outer", "inner"]

        async def me() -> list[str]:
            current = asyncio.current_task()
            assert current is not None
            return functions(current)

        assert (await loop.create_task(me()))[0] == "me"
    finally:
        loop.set_task_factory(None)
    task.cancel()
