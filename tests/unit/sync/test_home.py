"""Home: a name for people, and one event loop at a time."""

from __future__ import annotations

import asyncio
import threading

import pytest

from backstay.errors import SyncMisuse
from backstay.sync import Event, Semaphore, SingleFlight
from backstay.sync._home import READY, Home, line_at, place_of, read_clock, task_in
from backstay.testing import VirtualClock, run_virtual


async def test_ready_takes_no_time_and_can_be_awaited_again() -> None:
    """The one awaitable behind all fast paths ends at once, each time."""
    for _ in range(3):
        assert await READY is None


async def test_the_running_task_is_found() -> None:
    """`task_in` knows who runs in a loop."""
    assert task_in(asyncio.get_running_loop()) is asyncio.current_task()


def test_the_clock_is_the_one_of_the_seam() -> None:
    """Virtual time reaches the fast paths."""
    clock = VirtualClock(7.0)

    async def main() -> float:
        return read_clock.read()

    assert run_virtual(main, clock=clock) == 7.0
    assert read_clock.read() != 7.0


def test_a_place_is_read_late() -> None:
    """A noted place gives its line, and no place gives none."""
    import sys

    place = place_of(sys._getframe())
    line = sys._getframe().f_lineno - 1
    assert line_at(place) == f"{__file__}:{line}"
    assert line_at(None) == ""
    assert line_at((place[0], -2)) == f"{__file__}:{place[0].co_firstlineno}"


def test_without_a_name_the_line_that_made_it_is_the_name() -> None:
    """Zero configuration: two nameless primitives can be told apart."""
    first, named = Event(), Event("ready")
    assert first.name.startswith("test_home.py:")
    assert first.name == first.name
    assert SingleFlight[str, int]().name.startswith("test_home.py:"), "not a line of typing"
    assert named.name == "ready"


def test_a_global_serves_one_loop_after_another() -> None:
    """What was made at import time works in each run, also after a run that left it waited for."""
    event = Event("global")

    async def leaves_a_waiter() -> None:
        event.clear()
        task = asyncio.ensure_future(event.wait())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    async def main() -> None:
        task = asyncio.ensure_future(event.wait())
        await asyncio.sleep(0)
        event.set()
        await task

    asyncio.run(leaves_a_waiter())
    asyncio.run(main())
    event.clear()
    asyncio.run(main())


async def test_once_at_home_it_stays() -> None:
    """The second to wait finds the primitive where the first had put it."""
    event = Event()
    tasks = [asyncio.create_task(event.wait()) for _ in range(2)]
    await asyncio.sleep(0)
    assert event._loop is asyncio.get_running_loop()
    event.set()
    await asyncio.gather(*tasks)


def test_who_waited_in_a_closed_loop_is_forgotten() -> None:
    """A loop that was closed with somebody in line does not spoil the primitive."""
    semaphore = Semaphore(1)
    loop = asyncio.new_event_loop()

    async def park() -> None:
        await semaphore.acquire()
        await semaphore.acquire()

    task = loop.create_task(park())
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.run_until_complete(asyncio.sleep(0))
    assert semaphore.statistics().waiting == 1
    loop.close()

    semaphore.release()  # wakes nobody: that loop is gone
    assert semaphore.statistics().waiting == 0

    async def main() -> None:
        async with semaphore:
            task = asyncio.ensure_future(semaphore.acquire())
            await asyncio.sleep(0)
        await task

    asyncio.run(main())
    task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_a_stopped_loop_keeps_what_waits_in_it() -> None:
    """A loop that pauses is not gone: its primitive does not move while somebody waits."""
    event = Event("mine")
    loop = asyncio.new_event_loop()
    task = loop.create_task(event.wait())
    loop.run_until_complete(asyncio.sleep(0))

    async def elsewhere() -> None:
        await event.wait()

    with pytest.raises(SyncMisuse, match="event 'mine' is in use in another event loop"):
        asyncio.run(elsewhere())
    event.set()  # from outside of any loop, while it pauses: nothing runs that could be torn
    loop.run_until_complete(task)
    event.clear()
    idle = asyncio.new_event_loop()
    waiting = idle.create_task(event.wait())  # idle: it may move, though its loop is not closed
    idle.run_until_complete(asyncio.sleep(0))
    event.set()
    idle.run_until_complete(waiting)
    loop.close()
    idle.close()


def test_another_running_loop_is_refused() -> None:
    """Two loops that share a primitive get an error, on the waiting side and on the waking side."""
    event = Event("mine")
    parked = threading.Event()
    errors: list[BaseException] = []

    async def owner() -> None:
        task = asyncio.ensure_future(event.wait())
        await asyncio.sleep(0)
        parked.set()
        while len(errors) < 3:
            await asyncio.sleep(0.001)
        event.set()
        await task

    thread = threading.Thread(target=lambda: asyncio.run(owner()))
    thread.start()
    parked.wait()

    async def intruder() -> None:
        for attempt in (event.wait, event.set):
            try:
                result = attempt()
                if result is not None:
                    await result
            except SyncMisuse as error:
                errors.append(error)

    asyncio.run(intruder())
    try:
        event.set()
    except SyncMisuse as error:
        errors.append(error)
    thread.join()
    assert "in use in another event loop" in str(errors[0])
    assert "set() of event 'mine' was called outside of the event loop" in str(errors[1])
    assert "call_soon_threadsafe" in str(errors[2])
    assert not event.statistics().waiting


def test_a_primitive_says_what_it_holds() -> None:
    """The two questions that each primitive answers for its home have no default."""
    home = Home("bare")
    with pytest.raises(NotImplementedError):
        home._in_use()
    with pytest.raises(NotImplementedError):
        home._reset()
    assert home._can_wake("nothing")
    assert home._in_words() == "'bare'"
