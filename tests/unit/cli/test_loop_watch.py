"""Tracking every loop that a script makes, by whatever door."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from backstay.cli._loop_watch import track_every_loop
from backstay.tasks import TaskInfo, info, installed_loops


async def look() -> TaskInfo:
    """Start a task and return what is known about it."""
    task = asyncio.create_task(asyncio.sleep(0))
    await task
    return info(task)


def by_run(main: Any) -> TaskInfo:
    return asyncio.run(main())


def by_new_event_loop(main: Any) -> TaskInfo:
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()


def by_uvloop(main: Any) -> TaskInfo:
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def by_anyio(main: Any) -> TaskInfo:
    anyio = pytest.importorskip("anyio")
    return anyio.run(main)


Door = Callable[[Callable[[], Coroutine[Any, Any, TaskInfo]]], TaskInfo]


@pytest.mark.parametrize("door", [by_run, by_new_event_loop, by_uvloop, by_anyio])
def test_every_door_leads_past_us(door: Door) -> None:
    """The spawn site of a task is known by whatever way the loop was made."""
    with track_every_loop():
        found = door(look)
    assert found.tracked
    assert found.site is not None
    assert found.site.function == "look"
    assert not door(look).tracked, "after the block everything is as before"


def test_a_factory_of_the_script_is_chained() -> None:
    """The script's own factory makes the tasks, and we still know where from."""
    made: list[str] = []

    def factory(loop: Any, coro: Any, **options: Any) -> asyncio.Task[Any]:
        made.append(coro.__qualname__)
        return asyncio.Task(coro, loop=loop, **options)

    async def main() -> TaskInfo:
        asyncio.get_running_loop().set_task_factory(factory)
        return await look()

    with track_every_loop():
        found = asyncio.run(main())
    assert found.tracked
    assert made[0] == "sleep"


def test_loop_classes_of_later_imports_are_tracked() -> None:
    """A loop implementation that is imported inside the block is seen as it is defined."""
    with track_every_loop():

        class Later(asyncio.AbstractEventLoop):
            """Just enough of a loop."""

            def __init__(self) -> None:
                self.inner = asyncio.new_event_loop()

            def __getattribute__(self, name: str) -> Any:
                if name in {"inner", "__class__"}:
                    return object.__getattribute__(self, name)
                return getattr(self.inner, name)

        later = Later()
        assert later in installed_loops()
        later.close()


def test_closed_loops_are_let_go() -> None:
    """A script that makes a thousand loops does not keep a thousand."""
    with track_every_loop():
        loop = asyncio.new_event_loop()
        loop.close()
        gone = weakref.ref(loop)
        del loop
        gc.collect()
        assert gone() is None
