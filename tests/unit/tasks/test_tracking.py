"""Tracking sees every task of a loop, politely."""

from __future__ import annotations

import asyncio
import gc
import sys
import sysconfig
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest
import uvloop

from backstay import Scope, install, uninstall
from backstay.context import Key, bind
from backstay.tasks import TrackedTask, info, installed_loops, live_tasks

HERE = __file__

LOOPS = [
    pytest.param(asyncio.new_event_loop, id="stock"),
    pytest.param(uvloop.new_event_loop, id="uvloop"),
]


def on(
    loop_factory: Callable[[], asyncio.AbstractEventLoop], main: Coroutine[Any, Any, Any]
) -> Any:
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(main)


async def nothing() -> None:
    await asyncio.sleep(0)


def line_of(mark: str) -> int:
    with open(HERE, encoding="utf-8") as source:
        return next(n for n, text in enumerate(source, 1) if text.rstrip().endswith("# " + mark))


@pytest.mark.parametrize("loop_factory", LOOPS)
def test_the_spawn_site_is_the_callers_own_line(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """Through create_task, TaskGroup, gather, Scope.go and anyio the site is the user's line."""

    async def main() -> None:
        install()
        loop = asyncio.get_running_loop()
        found = {
            "create_task": asyncio.create_task(nothing()),  # create_task
            "loop": loop.create_task(nothing(), name="named"),  # loop
        }
        async with asyncio.TaskGroup() as group:
            found["group"] = group.create_task(nothing())  # group
        async with Scope("s") as scope:
            found["scope"] = scope.go(nothing)  # scope
        before = asyncio.all_tasks()
        gathering = asyncio.gather(nothing())  # gather
        (found["gather"],) = asyncio.all_tasks() - before
        await gathering
        for mark, task in found.items():
            site = info(task).site
            assert site is not None
            assert (site.file, site.line) == (HERE, line_of(mark)), mark
            assert site.function.endswith("main")
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(nothing)  # anyio
            (task,) = asyncio.all_tasks() - {asyncio.current_task()} - set(found.values())
            site = info(task).site
            assert site is not None
            assert (site.file, site.line) == (HERE, line_of("anyio"))
        assert found["loop"].get_name() == "named"

    on(loop_factory, main())


def test_a_task_from_a_bare_callback_has_no_site_but_a_definition() -> None:
    """No line of the program is blamed for what a callback of the loop started."""

    async def main() -> None:
        install()
        loop = asyncio.get_running_loop()
        made: list[asyncio.Task[None]] = []
        # functools.partial-like: the callback itself is C code, so no user frame exists.
        loop.call_soon(made.append, loop.create_task(nothing()))
        loop.call_soon(loop.create_task, nothing())
        await asyncio.sleep(0)
        (task,) = asyncio.all_tasks() - {asyncio.current_task(), *made}
        described = info(task)
        assert described.site is None
        assert described.tracked
        assert described.definition.startswith(HERE)
        await asyncio.sleep(0)

    asyncio.run(main())


def test_tasks_from_before_are_described_as_untracked() -> None:
    """A task that was alive before install() has no card and says so."""

    async def main() -> None:
        early = asyncio.create_task(nothing())
        install()
        described = info(early)
        assert not described.tracked
        assert (described.site, described.owner, described.age) == (None, None, None)
        assert described.coroutine.endswith("nothing")
        await early
        assert info(early).state == "done"

    asyncio.run(main())


@pytest.mark.parametrize("loop_factory", LOOPS)
def test_uninstall_leaves_the_loop_as_it_was(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """After uninstall the former factory is back, and no timer of ours is left."""

    def former(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=loop, **options)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for before in (None, former):
            loop.set_task_factory(before)
            install()
            install()  # idempotent
            assert loop in installed_loops()
            task = asyncio.create_task(nothing())
            assert info(task).tracked
            await task
            uninstall()
            uninstall()
            assert loop.get_task_factory() is before
            assert loop not in installed_loops()
            assert not info(asyncio.create_task(nothing())).tracked

    on(loop_factory, main())


def test_a_former_factory_still_makes_the_tasks() -> None:
    """Chaining keeps a tracer's own task class, with every keyword, and tracks beside it."""

    class Traced(asyncio.Task[Any]):
        pass

    seen: list[dict[str, Any]] = []

    def tracer(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
        seen.append(options)
        return Traced(coro, loop=loop, **options)

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(tracer)
        install()
        async with Scope("s") as scope:
            task = asyncio.create_task(nothing())
            assert type(task) is Traced
            site = info(task).site
            assert site is not None
            assert site.file == HERE
            assert info(task).owner is scope

    asyncio.run(main())
    assert seen


def test_somebody_who_chains_upon_us_is_not_torn_out() -> None:
    """uninstall() does not remove a factory that was put on top of ours."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        install()
        ours = loop.get_task_factory()
        assert ours is not None

        def later(
            loop: asyncio.AbstractEventLoop, coro: Any, **options: Any
        ) -> asyncio.Future[Any]:
            return ours(loop, coro, **options)

        loop.set_task_factory(later)
        uninstall()
        assert loop.get_task_factory() is later
        await asyncio.create_task(nothing())

    asyncio.run(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
@pytest.mark.parametrize("loop_factory", LOOPS)
def test_eager_tasks_are_tracked_and_stay_eager(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """With the eager factory set before install, tasks still start at once and carry a card."""
    ran: list[str] = []

    async def quick() -> None:
        ran.append("quick")
        me = asyncio.current_task()
        assert me is not None
        info(me)  # must not fail during the first step, when the card is not yet written

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
        install()
        task = asyncio.create_task(quick())
        assert ran == ["quick"]
        assert task.done()
        async with Scope("s") as scope:
            assert scope.go(quick).done()
            slow = scope.go(asyncio.sleep, 0.001)
            assert info(slow).owner is scope
        assert slow.done()

    on(loop_factory, main())


async def test_cancel_is_stamped_with_who_asked_first() -> None:
    """A dump can say who asked a task to end and when."""
    task = asyncio.create_task(asyncio.sleep(100), name="victim")

    async def killer() -> None:
        await asyncio.sleep(3)
        task.cancel()
        task.cancel()

    me = asyncio.create_task(killer(), name="killer")
    await asyncio.wait([task, me])
    described = info(task)
    assert described.cancel_by == "task 'killer'"
    assert described.cancel_at == 3.0


async def test_cancel_by_a_task_without_a_name_tells_what_it_runs() -> None:
    """A number that asyncio gave it says nothing to a reader."""
    victim = asyncio.create_task(asyncio.sleep(10))
    await asyncio.sleep(0)

    async def closes() -> None:
        victim.cancel()

    await asyncio.create_task(closes())
    by = info(victim).cancel_by
    assert by is not None
    assert by.startswith("task 'Task-")
    assert by.endswith("closes)")
    await asyncio.wait([victim])


@pytest.mark.real_loop
async def test_cancel_by_a_callback_does_not_name_the_line_that_runs_the_loop() -> None:
    """A time limit, a bare `call_soon(task.cancel)` and a callback of the program's own differ."""
    install()
    loop = asyncio.get_running_loop()

    async def deaf() -> None:
        for _ in range(3):
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                pass

    async def limited() -> None:
        async with asyncio.timeout(0):
            await deaf()

    def by_hand() -> None:
        tasks[2].cancel()  # the line

    tasks = [asyncio.create_task(work()) for work in (limited, deaf, deaf)]
    await asyncio.sleep(0)
    loop.call_soon(tasks[1].cancel)
    loop.call_soon(by_hand)
    while not all(task.cancelling() for task in tasks):
        await asyncio.sleep(0)
    line = by_hand.__code__.co_firstlineno + 1
    assert [info(task).cancel_by for task in tasks] == [
        "a time limit (asyncio.timeout)",
        "a callback of the event loop",
        f"{__file__}:{line}",
    ]
    while not all(task.done() for task in tasks):
        for task in tasks:
            task.cancel()
        await asyncio.sleep(0)
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_cancel_by_a_scope_names_the_scope_and_the_cause() -> None:
    """A child cut by its scope's deadline carries that as the reason."""
    task: asyncio.Task[object] | None = None
    with pytest.raises(TimeoutError):
        async with Scope("checkout", timeout=1.0) as scope:
            task = scope.go(asyncio.sleep, 100)
    assert task is not None
    by = info(task).cancel_by
    assert by is not None
    assert "checkout" in by
    assert "1 s" in by


async def test_age_is_told() -> None:
    """Under virtual time the age is exact; on a real loop it is good to about a second."""
    task = asyncio.create_task(asyncio.sleep(100))
    await asyncio.sleep(42)
    assert info(task).age == 42.0
    task.cancel()


def test_describing_a_task_keeps_nothing_alive() -> None:
    """A stored TaskInfo holds neither the task nor its result nor its coroutine."""

    class Thing:
        pass

    async def work(thing: Thing) -> Thing:
        await asyncio.sleep(0)
        return thing

    async def main() -> None:
        install()
        thing = Thing()
        ref = weakref.ref(thing)
        task = asyncio.create_task(work(thing))
        kept = info(task)
        await task
        del thing, task
        await asyncio.sleep(0)  # the wake-up that ran us held the task
        gc.collect()
        assert ref() is None
        assert kept.name

    asyncio.run(main())


def test_live_tasks_can_be_listed_from_another_thread() -> None:
    """The admin plane's thread lists tasks while the loop keeps making them."""
    counts: list[int] = []

    async def main() -> None:
        install()
        loop = asyncio.get_running_loop()
        stop = threading.Event()

        def look() -> None:
            while not stop.is_set():
                counts.append(len(live_tasks(loop)))

        gate = asyncio.Event()
        standing = [asyncio.create_task(gate.wait()) for _ in range(5)]  # there whenever it looks
        thread = threading.Thread(target=look)
        thread.start()
        for _ in range(300):
            await asyncio.gather(*(nothing() for _ in range(20)))
        stop.set()
        thread.join()
        gate.set()
        await asyncio.gather(*standing)

    asyncio.run(main())
    assert max(counts) > 5


def test_a_tracked_task_costs_at_most_sixty_bytes_more() -> None:
    """The stamp is four slots and, at worst, one small integer (whose head is longer without the GIL)."""
    extra = TrackedTask.__basicsize__ - asyncio.Task.__basicsize__
    head = 16 if sysconfig.get_config_var("Py_GIL_DISABLED") else 0
    assert extra + sys.getsizeof(1000) - head <= 60


def test_tracking_holds_nothing_of_whoever_installed_it() -> None:
    """Installed inside a request, the slow clock does not keep the request's values for ever."""

    class Body:
        pass

    key = Key[Body]("body")

    async def request() -> weakref.ref[Body]:
        body = Body()
        with bind(key, body):
            install()
        return weakref.ref(body)

    async def main() -> None:
        gone = await asyncio.create_task(request())
        await asyncio.sleep(0)
        gc.collect()
        assert gone() is None

    asyncio.run(main())


@pytest.mark.skipif(sys.version_info[:2] != (3, 13), reason="only there a loop names by None")
async def test_none_is_no_name_on_any_3_13() -> None:
    """3.13.0 and 3.13.5 alike name a task after its factory made it, also where nobody gave a name."""
    task = asyncio.create_task(asyncio.sleep(0))
    name = task.get_name()
    task.set_name(None)
    assert task.get_name() == name
    assert "set_name" in vars(TrackedTask)


async def test_tasks_keep_the_names_that_asyncio_gives() -> None:
    """An unnamed task is called Task-n under tracking, on every version, and a given name is kept."""
    assert asyncio.create_task(asyncio.sleep(0)).get_name().startswith("Task-")
    task = asyncio.create_task(asyncio.sleep(0), name="mine")
    assert task.get_name() == "mine"
    task.set_name("other")
    assert task.get_name() == "other"
