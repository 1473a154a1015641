"""The task factory in C gives each task the very stamp that the one in Python gives it."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import sys
import weakref
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop

from backstay import Scope, install
from backstay._base import accelerated
from backstay.tasks import TrackedTask

LOOPS = [
    pytest.param(asyncio.new_event_loop, id="stock"),
    pytest.param(uvloop.new_event_loop, id="uvloop"),
]
LoopFactory = Callable[[], asyncio.AbstractEventLoop]
VARIABLE = contextvars.ContextVar("VARIABLE", default="outside")

pytestmark = pytest.mark.skipif(accelerated() is None, reason="the extension is not there, or off")


@pytest.fixture(params=["accelerated", "pure"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let the test run with the factory in C and with the one in Python."""
    monkeypatch.setenv("BACKSTAY_PURE", "1" if request.param == "pure" else "0")
    return str(request.param)


def on(loop_factory: LoopFactory, main: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(main)


async def nothing() -> None:
    await asyncio.sleep(0)


def stamp(task: asyncio.Task[Any]) -> tuple[object, ...]:
    assert isinstance(task, TrackedTask)
    owner = None if task._owner is None else type(task._owner).__name__
    return task._site, task._lasti, owner, task._born


# A module of its own without a name, as exec'd templates and rule engines are.
_NAMELESS: dict[str, Any] = {}
exec("def start(loop, coro): return loop.create_task(coro)", _NAMELESS)
# … and one whose function is so long that the offset of the call is beyond the shared integers.
_LONG: dict[str, Any] = {"__name__": "long"}
exec(
    "def start(loop, coro):\n" + "    x = loop.time\n" * 1500 + "    return loop.create_task(coro)",
    _LONG,
)


def every_door(loop: asyncio.AbstractEventLoop) -> Iterator[asyncio.Task[Any]]:
    """Start a task through each kind of call that a factory sees."""
    yield asyncio.create_task(nothing())
    yield loop.create_task(nothing(), name="named")
    yield asyncio.ensure_future(nothing())
    yield asyncio.create_task(nothing(), context=contextvars.copy_context())
    yield functools.partial(loop.create_task, nothing())()
    yield _NAMELESS["start"](loop, nothing())
    yield _LONG["start"](loop, nothing())
    yield from map(loop.create_task, [nothing(), nothing()])
    yield from [asyncio.create_task(nothing()) for _ in range(1)]  # a frame of its own on 3.11


async def stamps() -> list[tuple[object, ...]]:
    loop = asyncio.get_running_loop()
    factory: Any = loop.get_task_factory()
    factory._tracking.tick[0] = 42.5
    tasks = list(every_door(loop))
    async with Scope("owner") as scope:
        tasks += every_door(loop)
        tasks.append(scope.go(nothing))
        assert scope.raw_spawned == 10
    async with asyncio.TaskGroup() as group:
        tasks.append(group.create_task(nothing()))
    made: list[asyncio.Task[Any]] = []
    loop.call_soon(lambda: made.append(loop.create_task(nothing())))
    before = asyncio.all_tasks()
    loop.call_soon(loop.create_task, nothing())
    await asyncio.sleep(0)
    tasks += [*made, *(asyncio.all_tasks() - before - set(made))]
    taken = [stamp(task) for task in tasks]
    await asyncio.gather(*tasks)
    return taken


@pytest.mark.parametrize("loop_factory", LOOPS)
def test_both_give_the_same_stamps(
    loop_factory: LoopFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Site, offset, owner and birth agree, whichever door the task came through."""

    async def main(pure: str, kind: str) -> list[tuple[object, ...]]:
        monkeypatch.setenv("BACKSTAY_PURE", pure)
        install()
        factory: Any = asyncio.get_running_loop().get_task_factory()
        assert type(factory).__name__ == kind
        return await stamps()

    in_c = on(loop_factory, main("0", "TaskFactory"))
    in_python = on(loop_factory, main("1", "function"))
    assert in_c == in_python
    assert {born for *_, born in in_c} == {42.5}
    assert any(lasti > 4096 for _, lasti, _, _ in in_c)
    assert any(site is None and lasti == -1 for site, lasti, _, _ in in_c)


@pytest.mark.parametrize("loop_factory", LOOPS)
def test_keywords_are_handed_through(loop_factory: LoopFactory, way: str) -> None:
    """A context is used, nothing asked is nothing asked, and an unknown keyword is refused."""

    async def read() -> str:
        return VARIABLE.get()

    async def main() -> None:
        install()
        loop = asyncio.get_running_loop()
        factory: Any = loop.get_task_factory()
        inside = contextvars.copy_context()
        inside.run(VARIABLE.set, "inside")
        assert await factory(loop, read(), context=inside) == "inside"
        assert await factory(loop, read(), inside) == "inside"
        assert await factory(loop, read(), context=None, eager_start=None) == "outside"
        assert await factory(loop, read(), eager_start=0) == "outside"
        assert await factory(loop, read(), None, False) == "outside"
        named = factory(loop, read(), name="mine", context=inside)
        assert named.get_name() == "mine"
        assert await named == "inside"
        refused = read()
        with pytest.raises(TypeError):
            factory(loop, refused, colour="red")
        refused.close()
        with pytest.raises(TypeError):
            factory(loop)
        with pytest.raises(TypeError):
            factory(loop, "no coroutine")

    on(loop_factory, main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
@pytest.mark.parametrize("loop_factory", LOOPS)
def test_an_eager_start_that_is_asked_for_happens(loop_factory: LoopFactory, way: str) -> None:
    """The first step runs before the factory returns, and the card is written after it."""

    async def main() -> None:
        install()
        loop = asyncio.get_running_loop()
        factory: Any = loop.get_task_factory()
        seen: list[str] = []

        async def first() -> None:
            seen.append("first")

        task = factory(loop, first(), eager_start=True)
        assert seen == ["first"]
        assert stamp(task)[3] == factory._tracking.tick[0]

    on(loop_factory, main())


def test_an_error_of_the_judge_is_the_callers(way: str) -> None:
    """What goes wrong while a task is stamped is raised, not swallowed, and leaks no error state."""

    async def main() -> None:
        install()
        loop = asyncio.get_running_loop()
        factory: Any = loop.get_task_factory()
        tick = factory._tracking.tick
        born = tick.pop()
        coro = nothing()
        with pytest.raises(IndexError):
            factory(loop, coro)
        tick.append(born)
        await factory(loop, nothing())

    asyncio.run(main())


@pytest.mark.parametrize("loop_factory", LOOPS)
def test_a_loop_that_is_gone_takes_the_factory_along(loop_factory: LoopFactory, way: str) -> None:
    """Factory, tracking and loop hold each other, and are collected together."""

    async def main() -> tuple[weakref.ref[Any], weakref.ref[Any]]:
        install()
        loop = asyncio.get_running_loop()
        factory: Any = loop.get_task_factory()
        await asyncio.create_task(nothing())
        return weakref.ref(factory), weakref.ref(factory._tracking)

    factory, tracking = on(loop_factory, main())
    gc.collect()
    assert factory() is None
    assert tracking() is None


def test_stamping_holds_on_to_nothing() -> None:
    """After 20,000 tasks no more blocks of memory are in use than after 2,000."""

    async def rounds(count: int) -> int:
        loop = asyncio.get_running_loop()
        for _ in range(count):
            async with Scope("owner"):
                await asyncio.gather(*every_door(loop))
        gc.collect()
        return sys.getallocatedblocks()

    async def main() -> int:
        install()
        before = await rounds(200)
        return await rounds(1800) - before

    assert asyncio.run(main()) < 200


def test_a_class_without_the_slots_is_refused() -> None:
    """The factory writes into the memory of a task, so it looks where before it starts."""
    accelerator = accelerated()
    assert accelerator is not None
    arguments: dict[str, Any] = {
        "uncommon": print,
        "user": set(),
        "skip": set(),
        "floor": set(),
        "learn": bool,
        "tick": [0.0],
        "owner": VARIABLE,
        "skip_caller": False,
    }
    for make in (asyncio.Task, dict):
        with pytest.raises((TypeError, AttributeError)):
            accelerator.task_factory(make=make, **arguments)
    with pytest.raises(TypeError):
        accelerator.task_factory(make=TrackedTask, **{**arguments, "user": frozenset()})


def test_a_task_of_another_class_is_refused() -> None:
    """Where `uncommon` answers with a task that has no slots, nothing is written into it."""
    accelerator = accelerated()
    assert accelerator is not None
    factory = accelerator.task_factory(
        make=TrackedTask,
        uncommon=lambda *args, **options: "no task",
        user=set(),
        skip=set(),
        floor=set(),
        learn=lambda namespace: True,
        tick=[0.0],
        owner=VARIABLE,
        skip_caller=False,
    )
    with pytest.raises(TypeError, match="no place for the stamp"):
        factory(None, None, colour="red")
