"""Who waits for what is there was not woken; who is about to be woken is in order."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from backstay.leak import Finding, report
from backstay.leak._looks import Looks


async def hold(primitive: Any) -> None:
    async with primitive:
        await asyncio.sleep(0)


def told() -> list[Finding]:
    return [one for one in report().findings if one.detail[0].startswith("lost wake-up")]


async def two_looks() -> list[Finding]:
    await asyncio.sleep(30)
    told()
    await asyncio.sleep(30)
    return told()


def lose_a_wake_up(primitive: Any) -> None:
    """Make it free without waking anybody, as a bug would."""
    if isinstance(primitive, asyncio.Lock):
        primitive._locked = False
    elif isinstance(primitive, asyncio.Queue):
        primitive._queue.append(1)
    elif isinstance(primitive, asyncio.Semaphore):
        primitive._value = 1
    else:
        primitive._value = True


async def waits_for(primitive: Any) -> None:
    if isinstance(primitive, asyncio.Event):
        await primitive.wait()
    elif isinstance(primitive, asyncio.Queue):
        await primitive.get()
    else:
        await hold(primitive)


@pytest.mark.parametrize(
    "make",
    [asyncio.Lock, asyncio.Event, asyncio.Queue, lambda: asyncio.BoundedSemaphore(1)],
    ids=["lock", "event", "queue", "semaphore"],
)
async def test_a_wake_up_that_was_lost_is_told(make) -> None:
    """Free, and somebody in line, at two looks: the line that waits is named."""
    primitive = make()
    if not isinstance(primitive, asyncio.Event | asyncio.Queue):
        await primitive.acquire()
    tasks = [asyncio.create_task(waits_for(primitive), name="waits") for _ in range(3)]
    await asyncio.sleep(1)
    assert await two_looks() == []  # as it should be: it is not free
    lose_a_wake_up(primitive)
    (found,) = await two_looks()
    assert (found.verdict, found.count, found.task_name) == ("STUCK", 3, "waits")
    assert found.page.endswith("lost-wake-up.md")
    assert "wake" in found.advice
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert await two_looks() == []


async def test_a_release_is_followed_by_a_wake_up_and_is_in_order() -> None:
    """Between a release and the next turn of the loop it is free, with others in line."""
    lock = asyncio.Lock()
    queue: asyncio.Queue[int] = asyncio.Queue()
    await lock.acquire()
    tasks = [asyncio.create_task(hold(lock)) for _ in range(3)]
    tasks += [asyncio.create_task(waits_for(queue)) for _ in range(3)]
    await asyncio.sleep(1)
    told()
    await asyncio.sleep(30)
    lock.release()
    queue.put_nowait(1)
    assert told() == []
    await asyncio.sleep(1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_one_look_that_falls_into_the_moment_accuses_nobody() -> None:
    """The first in line must be the same one at both looks."""
    lock = asyncio.Lock()
    await lock.acquire()
    tasks = [asyncio.create_task(hold(lock)) for _ in range(2)]
    await asyncio.sleep(1)
    lose_a_wake_up(lock)
    told()
    lock._locked = True
    lock.release()  # the wake-up comes after all
    await asyncio.wait(tasks)
    await asyncio.sleep(30)
    assert told() == []


@pytest.mark.real_loop
async def test_on_a_blocked_loop_the_wake_up_may_be_under_way() -> None:
    """Two wait, one item comes, and the loop is blocked: the second one is in order."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[int] = asyncio.Queue()
    tasks = [asyncio.create_task(waits_for(queue)) for _ in range(2)]
    await asyncio.sleep(0.01)
    queue.put_nowait(1)
    looks = Looks()

    def look() -> None:
        looks.take(loop, 0.0)
        looks.take(loop, 30.0)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()  # the loop is blocked for as long as both looks take
    assert looks.stranded == []
    tasks[1].cancel()
    await asyncio.wait(tasks)


@pytest.mark.real_loop
async def test_another_thread_sees_what_was_lost() -> None:
    """From outside, on a loop that is idle."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[int] = asyncio.Queue()
    task = asyncio.create_task(waits_for(queue))
    await asyncio.sleep(0.01)
    lose_a_wake_up(queue)
    looks = Looks()

    def look() -> None:
        looks.take(loop, 0.0)
        looks.take(loop, 30.0)

    thread = threading.Thread(target=look)
    thread.start()
    while thread.is_alive():
        await asyncio.sleep(0.01)
    assert [one.count for one in looks.stranded] == [1]
    task.cancel()
