"""Callbacks that pile up on one object are told; crowds that are in order are not."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from backstay.leak import Finding, Sampler, report
from backstay.leak._pile_rule import piles_up
from backstay.leak._piles import PileMemory


@pytest.mark.parametrize(
    ("weights", "tasks", "accused"),
    [
        ((1_500, 2_000, 2_500), 10, True),
        ((500, 1_000), 10, False),  # two looks are no trend
        ((1_500, 2_000, 2_000), 10, False),  # it does not rise
        ((2_500, 1_500, 2_600), 10, False),  # it has fallen
        ((500, 700, 900), 10, False),  # not worth telling
        ((1_500, 2_000, 2_500), 2_000, False),  # each may belong to a task
        ((0, 2_000, 4_000), 10, False),  # seen heavy twice only
        ((), 0, False),
    ],
)
def test_the_rule(weights: tuple[int, ...], tasks: int, accused: bool) -> None:
    """Three looks, each above the one before, and a thousand more than there are tasks."""
    assert piles_up(weights, tasks) is accused


def test_what_was_not_seen_is_forgotten() -> None:
    """An id may be used again, so a gap in the looks begins a new past."""
    memory = PileMemory()
    memory.add([])
    assert memory.growing([], 0) == []


async def rounds(step, count: int = 4, every: float = 30.0) -> list[Finding]:
    """Do `step` between samples half a minute apart, and return what is told in the end."""
    sampler = Sampler(asyncio.get_running_loop(), every)
    for _ in range(count):
        await step()
        await asyncio.sleep(every)
        sampler.sample()
    return [one for one in report(sampler).findings if one.detail[0].startswith("pile")]


def on_close(_: asyncio.Future[None]) -> None:
    """A callback of the program."""


class Connection:
    def __init__(self) -> None:
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.stop = asyncio.Event()

    async def live(self) -> None:
        await self.stop.wait()


async def test_callbacks_without_their_remove_are_a_pile() -> None:
    """Which callback, on what, found where, and how fast it grows; no count of tasks shows it."""
    connection = Connection()
    task = asyncio.create_task(connection.live(), name="main")
    await asyncio.sleep(0)

    async def send() -> None:
        for _ in range(600):
            connection.closed.add_done_callback(on_close)

    (found,) = await rounds(send)
    assert (found.verdict, found.count, found.function) == ("GROWING", 2_400, "on_close")
    assert found.site.endswith(f"test_piles.py:{on_close.__code__.co_firstlineno}")
    assert found.held_by == "a local of Connection.live() in task 'main'"
    assert found.slope_per_s == pytest.approx(20.0)
    assert "1,200 -> 1,800 -> 2,400 at the last 3 looks" in found.detail[0]
    assert "remove_done_callback" in found.advice
    page = report().to_text()
    assert "callbacks of on_close on one Future" in page
    task.cancel()


async def test_a_shared_task_behind_shields_is_a_pile() -> None:
    """Each shield leaves a callback on what it protects, when what waited for it was cancelled."""
    refresh = asyncio.create_task(asyncio.sleep(1e9), name="refresh")
    await asyncio.sleep(0)

    async def ask() -> None:
        for _ in range(600):
            refresh.add_done_callback(on_close)

    (found,) = await rounds(ask)
    assert "on one Task" in found.task_name or "on one TrackedTask" in found.task_name
    assert found.held_by == "task 'refresh'"
    refresh.cancel()


async def test_a_crowd_that_waits_for_one_future_is_in_order() -> None:
    """Two thousand tasks behind one future are two thousand callbacks, and each wakes a task."""
    connection = Connection()
    tasks: list[asyncio.Task[None]] = []

    async def handle() -> None:
        await asyncio.wait([connection.closed])

    async def plain() -> None:
        await connection.closed

    async def arrive() -> None:
        tasks.extend(asyncio.create_task(work()) for _ in range(300) for work in (handle, plain))
        await asyncio.sleep(0)

    assert await rounds(arrive) == []
    connection.closed.set_result(None)
    await asyncio.wait(tasks)


async def test_a_crowd_behind_an_event_is_in_order() -> None:
    """Waiters that wait are no dead weight, however many and rising."""
    connection = Connection()
    tasks: list[asyncio.Task[None]] = []

    async def arrive() -> None:
        tasks.extend(asyncio.create_task(connection.live()) for _ in range(700))
        await asyncio.sleep(0)

    assert await rounds(arrive) == []
    connection.stop.set()
    await asyncio.wait(tasks)


async def test_waiters_that_gave_up_and_stay_in_line_are_a_pile() -> None:
    """A queue of somebody's making that never takes out who gave up."""
    queue: asyncio.Queue[int] = asyncio.Queue()

    async def live() -> None:
        queue.empty()
        await asyncio.Event().wait()
        queue.empty()

    task = asyncio.create_task(live(), name="main")

    async def poll() -> None:
        for _ in range(600):
            waiter = asyncio.get_running_loop().create_future()
            queue._getters.append(waiter)
            waiter.cancel()

    (found,) = await rounds(poll)
    assert found.task_name == "waiters that wait no more on one Queue"
    assert found.count == 2_400
    task.cancel()


async def test_callbacks_that_come_and_go_are_in_order() -> None:
    """High, but not rising at each look: each registration is taken off again."""
    connection = Connection()
    task = asyncio.create_task(connection.live())
    heights = iter([2_000, 2_500, 1_500, 2_600, 2_500])

    async def traffic() -> None:
        connection.closed.remove_done_callback(on_close)
        for _ in range(next(heights)):
            connection.closed.add_done_callback(on_close)

    assert await rounds(traffic, 5) == []
    task.cancel()


async def test_looks_are_not_closer_than_ten_seconds() -> None:
    """Who asks every second must not see a trend of three seconds."""
    connection = Connection()
    task = asyncio.create_task(connection.live())

    async def send() -> None:
        for _ in range(3_000):
            connection.closed.add_done_callback(on_close)

    assert await rounds(send, 8, every=1.0) == []
    task.cancel()


async def test_the_looks_keep_nothing_alive() -> None:
    """Neither the future nor what hangs on it."""
    connection = Connection()
    task = asyncio.create_task(connection.live())
    gone = [weakref.ref(connection), weakref.ref(connection.closed)]
    send_to, connection = [connection], None

    async def send() -> None:
        for _ in range(600):
            send_to[0].closed.add_done_callback(on_close)

    assert await rounds(send)
    send_to.clear()
    task.cancel()
    await asyncio.wait([task])
    del task
    await asyncio.sleep(0)
    gc.collect()
    assert [reference() for reference in gone] == [None, None]
