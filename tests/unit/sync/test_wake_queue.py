"""The run queue of wake-ups: order, budgets, give-back, and every sort of loop and task."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from backstay.sync._wake_queue import (
    FAST_OPS,
    WAKES_PER_TURN,
    Waiter,
    WaitLine,
    WakeQueue,
    wake_queue,
    was_given,
)


def _debug() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_debug(True)
    return loop


def _eager() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    return loop


def _python_tasks() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_task_factory(lambda loop, coro, **kw: asyncio.tasks._PyTask(coro, loop=loop, **kw))  # type: ignore[attr-defined]
    return loop


class _OwnFutures(asyncio.SelectorEventLoop):
    """A loop with futures of its own, as one written elsewhere may have."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.futures._PyFuture(loop=self)  # type: ignore[attr-defined]


class _Crowded(asyncio.SelectorEventLoop):
    """A loop that takes no attribute of ours."""

    def __setattr__(self, name: str, value: object) -> None:
        if name == "_backstay_wakes":
            raise AttributeError(name)
        super().__setattr__(name, value)


FACTORIES: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "stock": asyncio.new_event_loop,
    "debug": _debug,
    "uvloop": uvloop.new_event_loop,
    "python tasks": _python_tasks,
    "own futures": _OwnFutures,
    "crowded": _Crowded,
}
if sys.version_info >= (3, 12):
    FACTORIES["eager"] = _eager

Body = Callable[[], Coroutine[Any, Any, None]]


@pytest.fixture(params=list(FACTORIES))
def run(request: pytest.FixtureRequest) -> Callable[[Body], None]:
    """Run a coroutine function on one sort of loop after another."""

    def runner(body: Body) -> None:
        with asyncio.Runner(loop_factory=FACTORIES[request.param]) as loops:
            loops.run(asyncio.wait_for(body(), 10))

    return runner


async def park(queue: WakeQueue, line: WaitLine[Waiter], back: list[Any]) -> Any:
    """Wait in the way that the top of the file tells primitives to."""
    waiter = queue.waiter()
    line.append(waiter)
    try:
        return await waiter
    except BaseException:
        if was_given(waiter):
            back.append(waiter.result())
        else:
            line.discard(waiter)
        raise


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_what_is_given_arrives_in_order(run: Callable[[Body], None]) -> None:
    """Each waiter gets its own value, first come first served, on every sort of loop."""

    async def body() -> None:
        queue, line = wake_queue(), WaitLine[Waiter]()
        got: list[Any] = []

        async def wait() -> None:
            got.append(await park(queue, line, []))

        tasks = [asyncio.ensure_future(wait()) for _ in range(40)]
        await turns()
        assert line.waiting == 40
        line.appendleft(stale := queue.waiter())
        stale.cancel()
        for number in range(40):
            assert queue.wake_one(line, number)
        assert not queue.wake_one(line)
        await asyncio.gather(*tasks)
        assert got == list(range(40))

    run(body)


@pytest.mark.parametrize("how", ["cancel", "cancel(msg)", "timeout", "wait_for"])
def test_a_cancel_before_the_wake_up_leaves_the_line(run: Callable[[Body], None], how: str) -> None:
    """Nothing was given, and the entry is gone."""

    async def body() -> None:
        queue, line, back = wake_queue(), WaitLine[Waiter](), []
        task = asyncio.ensure_future(_ended_by(how, park(queue, line, back)))
        await turns()
        if how.startswith("cancel"):
            task.cancel(*(["why"] if how == "cancel(msg)" else []))
        with pytest.raises((asyncio.CancelledError, TimeoutError)) as caught:
            await task
        if how == "cancel(msg)":
            assert caught.value.args == ("why",)
        assert not line
        assert back == []

    run(body)


@pytest.mark.parametrize("how", ["cancel", "cancel(msg)", "timeout", "wait_for"])
def test_a_cancel_after_the_wake_up_gives_back(run: Callable[[Body], None], how: str) -> None:
    """Woken and interrupted before it could run: what was given comes back, once."""

    async def body() -> None:
        queue, line, back = wake_queue(), WaitLine[Waiter](), []
        task = asyncio.ensure_future(_ended_by(how, park(queue, line, back)))
        await turns()
        if not how.startswith("cancel"):
            time.sleep(0.003)  # the time-out is due in the same turn
        given = queue.wake_one(line, "item")
        if how.startswith("cancel"):
            assert given
            task.cancel(*(["why"] if how == "cancel(msg)" else []))
        result = (await asyncio.gather(task, return_exceptions=True))[0]
        if how.startswith("cancel"):
            assert back == ["item"]
        elif given:  # wait_for may find the item there when its time is up; then it was received
            assert [result] == ["item"] if not back else back == ["item"]
        else:  # a slow machine: the time was up within those turns, before anything was given
            assert isinstance(result, TimeoutError)
            assert back == []

    run(body)


async def _ended_by(how: str, waiting: Coroutine[Any, Any, Any]) -> Any:
    if how == "timeout":
        async with asyncio.timeout(0.002):
            return await waiting
    if how == "wait_for":
        return await asyncio.wait_for(waiting, 0.002)
    return await waiting


def test_a_wait_can_fail(run: Callable[[Body], None]) -> None:
    """`fail` raises in the waiter; a waiter that failed was given nothing."""

    async def body() -> None:
        queue, line, back = wake_queue(), WaitLine[Waiter](), []
        task = asyncio.ensure_future(park(queue, line, back))
        await turns()
        waiter = line.popleft()
        assert queue.fail(waiter, LookupError("gone"))
        assert not queue.fail(waiter, LookupError("again"))
        assert not queue.wake(waiter)
        with pytest.raises(LookupError, match="gone"):
            await task
        assert back == []

    run(body)


def test_a_task_keeps_its_context(run: Callable[[Body], None]) -> None:
    """Each woken task runs with its own context variables, and with itself as current task."""

    async def body() -> None:
        variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")
        queue, line = wake_queue(), WaitLine[Waiter]()

        async def wait(number: int) -> None:
            variable.set(number)
            await park(queue, line, [])
            assert variable.get() == number
            assert asyncio.current_task() is tasks[number]

        tasks = [asyncio.ensure_future(wait(number)) for number in range(3)]
        await turns()
        assert queue.wake_all(line) == 3
        await asyncio.gather(*tasks)

    run(body)


def test_each_task_that_is_awaited_more_than_once_is_woken_the_plain_way() -> None:
    """A second callback on the waiter, from a debugger say, is served too."""

    async def body() -> None:
        queue, line = wake_queue(), WaitLine[Waiter]()
        seen: list[Any] = []
        task = asyncio.ensure_future(park(queue, line, []))
        await turns()
        line[0].add_done_callback(lambda waiter: seen.append(waiter.result()))
        assert queue.wake_one(line, 5)
        assert await task == 5
        assert seen == [5]

    asyncio.run(body())


def test_a_waiter_woken_before_it_is_awaited_does_not_wait() -> None:
    """Between making and awaiting there may be a wake-up."""

    async def body() -> None:
        queue = wake_queue()
        waiter = queue.waiter()
        assert queue.wake(waiter, 1)
        assert not queue.wake(waiter, 2)
        assert await waiter == 1

    asyncio.run(body())


def test_a_turn_wakes_a_bounded_number() -> None:
    """Two tasks that wake each other for ever let the loop turn every 16 wake-ups."""

    async def body() -> None:
        queue = wake_queue()
        lines = [WaitLine[Waiter](), WaitLine[Waiter]()]
        wakes = 0

        async def play(me: int) -> None:
            nonlocal wakes
            while True:
                queue.wake_one(lines[1 - me])
                wakes += 1
                await park(queue, lines[me], [])

        players = [asyncio.ensure_future(play(me)) for me in (0, 1)]
        await turns()
        before = wakes
        await asyncio.sleep(0)
        assert wakes - before <= WAKES_PER_TURN
        await turns(50)
        assert wakes - before > WAKES_PER_TURN * 40
        for player in players:
            player.cancel()
        await asyncio.wait(players)

    asyncio.run(body())


def test_a_turn_ends_early_when_its_tasks_are_busy() -> None:
    """Four steps that each spend all of their fast operations fill a turn."""

    async def body() -> None:
        queue, line = wake_queue(), WaitLine[Waiter]()
        steps = 0

        async def work() -> None:
            nonlocal steps
            while True:
                await park(queue, line, [])
                assert queue.credit == FAST_OPS
                queue.credit -= FAST_OPS
                steps += 1
                queue.wake_one(line)

        workers = [asyncio.ensure_future(work()) for _ in range(8)]
        await turns()
        queue.wake_all(line)
        await asyncio.sleep(0)
        assert steps <= 4
        for worker in workers:
            worker.cancel()
        await asyncio.wait(workers)

    asyncio.run(body())


def test_a_pause_lets_others_run_and_renews_the_credit() -> None:
    """The bare yield behind the fast-operation budget."""

    async def body() -> None:
        queue = wake_queue()
        queue.credit = 0
        ran: list[int] = []
        asyncio.get_running_loop().call_soon(ran.append, 1)
        await queue.pause()
        assert ran == [1]
        assert queue.credit == FAST_OPS

    asyncio.run(body())


def test_switched_off_each_wake_up_is_a_handle_of_its_own() -> None:
    """With `wakes_per_turn` 0 a schedule explorer sees every wake-up; what stood in line still runs."""

    async def body() -> None:
        queue, line = wake_queue(), WaitLine[Waiter]()
        tasks = [asyncio.ensure_future(park(queue, line, [])) for _ in range(4)]
        await turns()
        queue.wake_one(line, 1)
        queue.wakes_per_turn = 0
        queue.wake_all(line, 2)
        assert repr(queue).startswith("<WakeQueue runnable=1 of")
        assert await asyncio.gather(*tasks) == [1, 2, 2, 2]

    asyncio.run(body())


def test_the_queue_survives_a_task_that_ends_the_loop() -> None:
    """KeyboardInterrupt leaves at once; whoever was woken behind it runs when the loop goes on."""
    loop = asyncio.new_event_loop()

    async def interrupt(queue: WakeQueue, line: WaitLine[Waiter]) -> None:
        await park(queue, line, [])
        raise KeyboardInterrupt

    queue, line = wake_queue(loop), WaitLine[Waiter]()
    first = loop.create_task(interrupt(queue, line))
    second = loop.create_task(park(queue, line, []))
    loop.run_until_complete(turns())
    loop.call_soon(queue.wake_all, line, "late")
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(turns())
    assert isinstance(first.exception(), KeyboardInterrupt)
    assert loop.run_until_complete(second) == "late"
    loop.close()


def test_an_error_in_a_foreign_callback_is_reported_and_stops_nobody() -> None:
    """What is not a task may wait too, and may fail as any callback of a loop."""

    async def body() -> None:
        queue, line = wake_queue(), WaitLine[Waiter]()
        reports: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, c: reports.append(c))
        foreign = queue.waiter()
        foreign.add_done_callback(lambda _: 1 / 0)
        line.append(foreign)
        task = asyncio.ensure_future(park(queue, line, []))
        await turns()
        queue.wake_all(line)
        await task
        assert isinstance(reports[0]["exception"], ZeroDivisionError)

    asyncio.run(body())


def test_a_coroutine_that_was_closed_cannot_be_woken() -> None:
    """Its waiter ends quietly, and no task is resumed for it."""

    async def body() -> None:
        queue, line = wake_queue(), WaitLine[Waiter]()
        stray = park(queue, line, [])
        stray.send(None)
        waiter = line[0]
        waiter.add_done_callback(lambda _: pytest.fail("nobody is there to be resumed"))
        stray.close()
        assert not line
        assert not queue.wake(waiter)
        await turns()

    asyncio.run(body())


def test_a_loop_has_one_queue() -> None:
    """The same object each time, also asked from outside; exotic loops wake the plain way."""
    loop = asyncio.new_event_loop()
    assert wake_queue(loop) is wake_queue(loop)
    assert wake_queue(loop).wakes_per_turn == WAKES_PER_TURN
    loop.close()
    for make in (_OwnFutures, _nested):
        exotic = make()
        assert wake_queue(exotic).wakes_per_turn == 0
        exotic.close()
    with pytest.raises(RuntimeError):
        wake_queue()


def _nested() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    setattr(loop, "_nest_patched", True)
    return loop


# -- lines -----------------------------------------------------------------------------


def line_of(count: int) -> tuple[WaitLine[Any], list[Any], asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    line: WaitLine[Any] = WaitLine()
    entries = [
        loop.create_future() if number % 2 else (loop.create_future(), number)
        for number in range(count)
    ]
    line.extend(entries)
    return line, entries, loop


def give_up(line: WaitLine[Any], entry: Any) -> None:
    (entry[0] if isinstance(entry, tuple) else entry).cancel()
    line.discard(entry)


def test_a_short_line_is_left_at_once() -> None:
    """Nothing stale remains, whatever form the entry has."""
    line, entries, loop = line_of(10)
    for index in (5, 0, 9, 4):
        give_up(line, entries[index])
        assert entries[index] not in list(line)
    assert list(line) == [entries[i] for i in (1, 2, 3, 6, 7, 8)]
    line.discard(entries[0])  # it is not there any more
    assert line.waiting == 6
    loop.close()


def test_a_long_line_is_compacted_when_half_of_it_is_stale() -> None:
    """It is never much longer than twice those who wait, and order holds."""
    line, entries, loop = line_of(1000)
    alive = list(entries)
    for index in range(999, 0, -1):
        if index % 10:
            give_up(line, entries[index])
            alive.remove(entries[index])
            assert len(line) <= 2 * len(alive) + 16
    assert [entry for entry in line if entry in alive] == alive
    assert line.waiting == len(alive) == 100
    loop.close()


def test_leaving_a_long_line_costs_constant_time_on_average() -> None:
    """The entries looked at while 4,000 leave grow with their number, not with its square."""
    looked = 0

    class Counting(asyncio.Future[Any]):
        def done(self) -> bool:
            nonlocal looked
            looked += 1
            return super().done()

    loop = asyncio.new_event_loop()
    line: WaitLine[Any] = WaitLine()
    entries = [Counting(loop=loop) for _ in range(4000)]
    line.extend(entries)
    for entry in reversed(entries):
        give_up(line, entry)
    assert not line
    assert looked < 4 * len(entries)
    loop.close()


def test_the_first_of_a_line_is_the_first_who_waits() -> None:
    """Stale entries before it are dropped."""
    line, entries, loop = line_of(4)
    for entry in entries[:2]:
        (entry[0] if isinstance(entry, tuple) else entry).cancel()
    assert line.first() is entries[2]
    assert len(line) == 2
    for entry in entries[2:]:
        give_up(line, entry)
    assert line.first() is None
    line.append((entries[0][0], 1))
    assert line.first() is None
    loop.close()


@pytest.mark.parametrize("wakes_per_turn", [0, WAKES_PER_TURN])
def test_a_late_decision_runs_among_the_wake_ups(wakes_per_turn: int) -> None:
    """`soon` runs after those woken before and before those woken after, in either mode."""

    async def body() -> None:
        queue, line = wake_queue(), WaitLine[Waiter]()
        queue.wakes_per_turn = wakes_per_turn
        order: list[str] = []

        async def wait(name: str) -> None:
            await park(queue, line, [])
            order.append(name)

        tasks = [asyncio.ensure_future(wait(name)) for name in ("before", "after")]
        await turns()
        queue.wake_one(line)
        queue.soon(order.append, "decision")
        queue.wake_one(line)
        await asyncio.gather(*tasks)
        assert order == ["before", "decision", "after"]
        queue.soon(order.append, "alone")
        await turns()
        assert order[-1] == "alone"

    asyncio.run(body())
