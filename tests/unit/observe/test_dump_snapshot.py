"""The snapshot: what is counted, grouped and kept."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import backstay
from backstay import Scope
from backstay.observe.dump import Dump, Group, snapshot, to_json, to_text

HERE = __file__


async def settle() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


async def waiting(event: asyncio.Event) -> None:
    await event.wait()


async def pulling(queue: asyncio.Queue[int]) -> None:
    await queue.get()


@pytest.fixture
def event() -> asyncio.Event:
    return asyncio.Event()


@asynccontextmanager
async def tracked() -> AsyncIterator[None]:
    backstay.install()
    try:
        yield
    finally:
        backstay.uninstall()


def waiters(dump: Dump) -> list[Group]:
    return [group for group in dump.groups if group.blocked_on is not None]


async def test_tasks_of_one_line_and_owner_are_one_group(event: asyncio.Event) -> None:
    """Forty tasks that differ in nothing that matters are one row with the count forty."""
    async with tracked(), Scope("POST /orders", kind="request", trace_id="a" * 32) as scope:
        for _ in range(40):
            scope.go(waiting, event)
        await settle()
        dump = snapshot()
        event.set()
    (group,) = waiters(dump)
    assert group.count == 40
    assert group.site is not None
    assert group.site.startswith(f"{HERE}:")
    assert (group.function, group.coroutine) == (group.function, "waiting")
    assert group.function.startswith("test_tasks_of_one_line")
    assert (group.owner_path, group.kind) == (("POST /orders",), "request")
    assert group.state == "waiting"
    assert group.trace_ids == ("a" * 32,)
    assert group.blocked_on is not None
    assert (group.blocked_on.label, group.blocked_on.detail) == ("event wait", "40 waiters")
    assert group.age_min_s == group.age_max_s == 0
    assert (dump.pid, dump.tasks) == (os.getpid(), 41)
    assert group.examples == ()


async def test_what_differs_is_apart(event: asyncio.Event) -> None:
    """Another line, another owner or another wait makes another group; the biggest comes first."""
    queue = asyncio.Queue[int]()
    async with tracked(), Scope("outer") as outer:
        outer.go(pulling, queue)
        for _ in range(2):
            outer.go(waiting, event)
        async with Scope("inner") as inner:
            for _ in range(3):
                inner.go(waiting, event)
            await settle()
            dump = snapshot()
            event.set()
            queue.put_nowait(1)
    found = [(group.count, group.owner_path, group.coroutine) for group in waiters(dump)]
    assert found == [
        (3, ("outer", "inner"), "waiting"),
        (2, ("outer",), "waiting"),
        (1, ("outer",), "pulling"),
    ]


async def test_ages_span_the_group(event: asyncio.Event) -> None:
    """The youngest and the oldest give the span; differing numbers are left out of the label."""

    async def nap() -> None:
        await asyncio.sleep(100)

    async with tracked(), Scope("s", on_exit="cancel") as scope:
        for _ in range(2):
            scope.go(nap)
            await asyncio.sleep(10)
        dump = snapshot()
    (group,) = waiters(dump)
    assert group.age_min_s == pytest.approx(10, abs=1.1)
    assert group.age_max_s == pytest.approx(20, abs=1.1)
    assert str(group.blocked_on).startswith("sleep at ")


async def test_states(event: asyncio.Event) -> None:
    """Running, ready and cancelling tasks say so."""

    async def stubborn() -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            await event.wait()
            raise

    async with tracked(), Scope("s") as scope:
        task = scope.go(stubborn)
        await settle()
        task.cancel()
        await settle()
        scope.go(waiting, event)
        dump = snapshot(stacks=True)
        event.set()
    states = {group.state: group for group in dump.groups}
    assert states.keys() == {"running", "ready", "cancelling"}
    assert states["running"].running_at is not None
    assert states["running"].running_at.startswith(f"{HERE}:")
    assert states["ready"].blocked_on is None
    cancelled = states["cancelling"]
    assert cancelled.blocked_on is not None
    assert cancelled.blocked_on.label == "event wait"
    assert cancelled.examples[0].cancel_by is not None


async def test_stacks_show_the_oldest_few(event: asyncio.Event) -> None:
    """With stacks, the three oldest of each group come with their chains."""
    async with tracked(), Scope("s") as scope:
        for number in range(5):
            scope.go(waiting, event).set_name(f"task {number}")
            await asyncio.sleep(5)
        dump = snapshot(stacks=True)
        event.set()
    (group,) = waiters(dump)
    assert [member.name for member in group.examples] == ["task 0", "task 1", "task 2"]
    assert [step.function for step in group.examples[0].stack] == ["waiting", "Event.wait"]
    assert group.examples[0].blocked_on == str(group.blocked_on)


async def test_a_deadlock_is_named_with_its_lines() -> None:
    """Who waits for whom at which line, in the document and in the first lines of the text."""
    one, two = asyncio.Lock(), asyncio.Lock()

    async def pay() -> None:
        async with one:
            await asyncio.sleep(0)
            async with two:
                pass

    async def ship() -> None:
        async with two:
            await asyncio.sleep(0)
            async with one:
                pass

    async with tracked(), Scope("s", on_exit="cancel") as scope:
        tasks = [scope.go(pay), scope.go(ship)]
        await settle()
        tasks.append(scope.go(one.acquire))
        await settle()
        taken = snapshot()
        document = to_json(taken)
    (found,) = document["deadlocks"]
    assert (found["tasks"], found["behind"]) == (2, 1)
    ring = {member["coroutine"].rpartition(".")[2]: member for member in found["ring"]}
    assert ring["pay"]["held_up_by"] == ring["ship"]["name"]
    assert ring["ship"]["held_up_by"] == ring["pay"]["name"]
    line = pay.__code__.co_firstlineno + 3
    assert ring["pay"]["await_site"].endswith(f"test_dump_snapshot.py:{line}")
    text = to_text(document, width=200).splitlines()
    assert text[0].startswith("DEADLOCK  2 tasks wait for each other in a ring")
    assert "waits for lock acquire at tests/unit/observe/test_dump_snapshot.py:" in text[1]
    assert "held up by 'test_a_deadlock" in text[1]
    assert text[3:5] == ["  1 more wait behind them", ""]
    held = [weakref.ref(task) for task in tasks]
    del tasks
    await settle()
    gc.collect()
    assert [ref() for ref in held] == [None] * 3, "a record of a deadlock keeps none of them"
    assert taken.deadlocks[0].behind == 1


async def test_the_number_of_groups_is_bounded(event: asyncio.Event) -> None:
    """What does not fit is counted, so the totals are right all the same."""

    async def job(number: int) -> None:
        async with Scope(f"job {number}") as own:
            own.go(waiting, event)

    async with tracked(), Scope("s") as scope:
        for number in range(8):
            scope.go(job, number)
        await settle()
        dump = snapshot(limit=3)
        event.set()
    assert len(dump.groups) == 3
    assert (dump.groups_left_out, dump.tasks_left_out) == (7, 7)
    assert dump.tasks == sum(group.count for group in dump.groups) + dump.tasks_left_out


def test_untracked_tasks_are_shown_as_far_as_known() -> None:
    """Tasks from before tracking have no site, owner or age, but a coroutine and a wait."""

    async def main() -> Dump:
        event = asyncio.Event()
        task = asyncio.create_task(waiting(event))
        await settle()
        dump = snapshot([asyncio.get_running_loop()])
        event.set()
        await task
        return dump

    (group,) = waiters(asyncio.run(main()))
    assert (group.site, group.owner_path, group.age_min_s) == (None, (), None)
    assert group.function == group.coroutine == "waiting"
    assert group.definition.startswith(f"{HERE}:")


def test_only_tracked_loops_are_looked_at_by_default() -> None:
    """Without tracking there is nothing to see, and no error either."""

    async def main() -> Dump:
        return snapshot()

    assert asyncio.run(main()).tasks == 0
    assert snapshot([]).groups == ()


class Precious:
    """Something that must die when the task drops it."""


async def test_a_dump_keeps_nothing_alive() -> None:
    """A stored dump holds words and numbers: no task, future, coroutine, frame or local."""
    gate = asyncio.Event()
    dropped: list[weakref.ref[Any]] = []

    async def owner() -> None:
        precious = Precious()
        dropped.append(weakref.ref(precious))
        await gate.wait()
        del precious
        await asyncio.sleep(100)

    async with tracked(), Scope("s", on_exit="cancel") as scope:
        task = scope.go(owner)
        await settle()
        dropped.append(weakref.ref(task))
        dump = snapshot(stacks=True)
        gate.set()
        await settle()
        assert dropped[0]() is None
        del task
    await settle()
    gc.collect()
    assert dropped[1]() is None
    assert {type(thing).__module__ for thing in reachable(dump)} <= {
        "builtins",
        "backstay.observe.dump._groups",
        "backstay.observe.dump._snapshot",
        "backstay.observe.dump._threads",
        "backstay.tasks._await_chain",
        "backstay.tasks._blocked_on",
    }
    kinds = {type(thing).__name__ for thing in reachable(dump)}
    assert not kinds & {"coroutine", "frame", "Task", "Future", "function", "method", "dict"}


def reachable(thing: Any) -> Iterator[Any]:
    seen: set[int] = set()
    todo = [thing]
    while todo:
        here = todo.pop()
        if id(here) in seen or isinstance(here, type):
            continue
        seen.add(id(here))
        yield here
        todo += gc.get_referents(here)


def test_a_blocked_loop_is_dumped_from_another_thread() -> None:
    """The dump names the line that blocks the loop, and what all the others wait for."""
    blocked, release = threading.Event(), threading.Event()

    def stuck() -> None:
        blocked.set()
        release.wait(10)

    async def main() -> None:
        async with tracked(), Scope("s", on_exit="cancel") as scope:
            for _ in range(200):
                scope.go(asyncio.sleep, 100)
            await asyncio.sleep(0)
            stuck()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    blocked.wait(10)
    dump = snapshot(stacks=True)
    release.set()
    thread.join()
    (running,) = [group for group in dump.groups if group.state == "running"]
    functions = [step.function.rpartition(".")[2] for step in running.examples[0].stack]
    assert functions[:2] == ["main", "stuck"]
    (sleeping,) = waiters(dump)
    assert sleeping.count == 200


def test_looking_at_a_running_loop_is_safe() -> None:
    """Tasks that come and go while they are counted do no harm."""
    stop = threading.Event()

    async def short() -> None:
        await asyncio.sleep(0)

    async def main() -> None:
        async with tracked(), Scope("s") as scope:
            while not stop.is_set():
                for _ in range(50):
                    scope.go(short)
                await asyncio.sleep(0)

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    try:
        for _ in range(30):
            dump = snapshot(stacks=True)
            assert dump.tasks == sum(group.count for group in dump.groups)
    finally:
        stop.set()
        thread.join()
