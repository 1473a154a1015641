"""Who was asked to end and did not, and who only looks like it."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref

import pytest

from backstay import Scope
from backstay.leak import Finding, report
from backstay.leak._undead import heard_of, is_undead


async def deaf() -> None:
    for _ in range(50):
        try:
            await asyncio.sleep(1e6)
        except asyncio.CancelledError:
            pass


def undead() -> list[Finding]:
    return [one for one in report().findings if one.verdict == "UNDEAD"]


async def end(task: asyncio.Task[None]) -> None:
    """End even a deaf task, so that no test leaves one."""
    while not task.done():
        task.cancel()
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("stamp", "heard", "accused"),
    [
        (None, True, False),
        (("x", 4.9), True, True),
        (("x", 5.0), True, False),
        (("x", 0.0), False, False),
    ],
)
def test_the_decision(stamp, heard: bool, accused: bool) -> None:
    """Asked, heard, and beyond the grace: all three, or nobody is accused."""
    assert is_undead(stamp, 10.0, 5.0, heard) is accused


async def test_a_task_that_swallows_its_cancel_is_named_with_who_asked() -> None:
    """Line, asker, since when, and what to look for."""

    async def closer() -> None:
        task.cancel()

    task = asyncio.create_task(deaf(), name="poller")
    await asyncio.sleep(1)
    await asyncio.create_task(closer(), name="closer")
    await asyncio.sleep(4)
    assert undead() == []  # within the grace
    await asyncio.sleep(8)
    (found,) = undead()
    assert (found.count, found.alive, found.task_name) == (1, 1, "poller")
    assert "12 s ago and did not, by task 'closer'" in found.detail[0]
    assert "swallows CancelledError" in found.advice
    assert found.function.endswith("named_with_who_asked")
    await end(task)


async def test_the_grace_is_the_callers() -> None:
    """A service whose clean-up takes a minute says so."""
    task = asyncio.create_task(deaf())
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.sleep(30)
    assert report(undead_grace=60.0).findings == ()
    assert [one.verdict for one in report(undead_grace=20.0).findings] == ["UNDEAD"]
    await end(task)


async def test_a_cancel_that_was_taken_back_is_forgotten() -> None:
    """`uncancel` by the task, and a timeout that struck inside it, leave a healthy task."""

    async def forgiving() -> None:
        try:
            await asyncio.sleep(1e6)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
        await asyncio.sleep(1e6)

    async def bounded() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await asyncio.sleep(1e6)
        await asyncio.sleep(1e6)

    tasks = [asyncio.create_task(forgiving()), asyncio.create_task(bounded())]
    await asyncio.sleep(2)
    tasks[0].cancel()
    await asyncio.sleep(60)
    assert undead() == []
    for task in tasks:
        task.cancel()


async def test_clean_up_within_the_grace_is_not_accused() -> None:
    """A flush that takes four seconds after the cancel is what a grace is for."""

    async def careful() -> None:
        try:
            await asyncio.sleep(1e6)
        finally:
            await asyncio.shield(asyncio.sleep(4.0))

    task = asyncio.create_task(careful())
    await asyncio.sleep(1)
    task.cancel()
    for _ in range(6):
        await asyncio.sleep(1)
        assert undead() == []
    assert task.cancelled()


async def test_a_scope_that_was_cancelled_does_not_accuse_its_host() -> None:
    """The host waits for its children as it should; the child that does not end is accused."""

    async def host() -> None:
        async with Scope("job", on_exit="cancel") as scope:
            scope.go(deaf)
            await asyncio.sleep(1)

    task = asyncio.create_task(host())
    await asyncio.sleep(30)
    assert [one.task_name for one in undead()] == ["deaf"]
    for other in asyncio.all_tasks():
        if other is not asyncio.current_task() and other is not task:
            await end(other)
    await task


@pytest.mark.parametrize("way", ["await", "gather", "group"])
async def test_who_handed_the_cancel_down_waits_as_it_should(way: str) -> None:
    """Of a parent and the child that does not end only the child is accused."""

    async def parent() -> None:
        child = deaf()
        if way == "await":
            await asyncio.create_task(child)
        elif way == "gather":
            await asyncio.gather(child, asyncio.sleep(1e6))
        else:
            async with asyncio.TaskGroup() as group:
                group.create_task(child)

    task = asyncio.create_task(parent(), name="parent")
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.sleep(30)
    assert [one.task_name for one in undead()] == ["deaf"]
    for other in asyncio.all_tasks():
        if other is not asyncio.current_task() and other is not task:
            await end(other)
    await asyncio.wait([task])


async def test_who_waits_for_a_task_that_nobody_asked_is_accused() -> None:
    """It swallowed its cancel, and has begun something new to wait for."""

    async def again() -> None:
        try:
            await asyncio.sleep(1e6)
        except asyncio.CancelledError:
            await asyncio.create_task(asyncio.sleep(1e6))

    task = asyncio.create_task(again(), name="again")
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.sleep(30)
    assert [one.task_name for one in undead()] == ["again"]
    await end(task)


@pytest.mark.real_loop
async def test_on_a_blocked_loop_nobody_has_heard_anything_yet() -> None:
    """A cancel that was asked for while the loop is blocked is not held against the task."""
    from backstay import install

    install(exact=True)
    loop = asyncio.get_running_loop()
    sleeper = asyncio.create_task(asyncio.sleep(60))
    starter = asyncio.create_task(asyncio.sleep(60))
    await asyncio.sleep(0)
    fresh = asyncio.create_task(asyncio.sleep(60))  # has not run yet
    for task in (sleeper, starter, fresh):
        task.cancel()
    assert not any(heard_of(task) for task in (sleeper, fresh))
    seen: list[list[Finding]] = []

    def look() -> None:
        seen.append(list(report(None, loop, undead_grace=0.0).findings))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()  # the loop is blocked for as long as the look takes
    assert seen == [[]]
    await asyncio.gather(sleeper, starter, fresh, return_exceptions=True)


async def test_a_finding_keeps_no_task_alive() -> None:
    """What is reported are numbers and words."""
    task = asyncio.create_task(deaf())
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.sleep(9)
    found = undead()
    assert found
    await end(task)
    gone = weakref.ref(task)
    del task
    await asyncio.sleep(0)
    gc.collect()
    assert gone() is None
