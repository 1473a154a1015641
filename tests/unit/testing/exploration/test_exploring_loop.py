"""What the exploring loop permutes, and what it never does."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

import backstay
from backstay.errors import UsageError
from backstay.testing import DeadlockError, ExplorationFailure, StepBudgetExceeded, explore


def orders(scenario_of: object, **options: object) -> set[str]:
    """Return every order that the scenario's log takes under all schedules."""
    seen: set[str] = set()

    async def scenario() -> None:
        log: list[str] = []
        await scenario_of(log)  # type: ignore[operator]
        seen.add("".join(log))

    explore(scenario, strategy="dfs", schedules=20_000, **options)  # type: ignore[arg-type]
    return seen


def test_callbacks_keep_their_order() -> None:
    """What was given to call_soon runs in that order: asyncio promises it."""

    async def body(log: list[str]) -> None:
        loop = asyncio.get_running_loop()
        for name in "abc":
            loop.call_soon(log.append, name)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    assert {order.ljust(3, ".") for order in orders(body)} == {"abc"}


def test_nothing_overtakes_a_callback() -> None:
    """A task made ready after a callback runs after it; one made ready before may be late."""

    async def body(log: list[str]) -> None:
        async def task(name: str) -> None:
            log.append(name)

        early = asyncio.create_task(task("e"))
        asyncio.get_running_loop().call_soon(log.append, "-")
        late = asyncio.create_task(task("l"))
        await asyncio.wait([early, late])

    assert orders(body) == {"e-l", "-el", "-le"}


def test_the_steps_of_one_task_keep_their_order() -> None:
    """A task is one sequence, however late each step is."""

    async def body(log: list[str]) -> None:
        async def task(name: str) -> None:
            log.append(name)
            await asyncio.sleep(0)
            log.append(name.upper())

        await asyncio.gather(task("a"), task("b"))

    found = orders(body)
    assert found == {"abAB", "aAbB", "abBA", "baAB", "baBA", "bBaA"}


def test_done_callbacks_of_one_future_keep_their_order() -> None:
    """They are callbacks like any other."""

    async def body(log: list[str]) -> None:
        future = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda _: log.append("1"))
        future.add_done_callback(lambda _: log.append("2"))
        future.set_result(None)
        await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0))
        await asyncio.sleep(0)

    assert orders(body) == {"12"}


def test_timers_due_at_once_fire_in_any_order_and_others_in_time() -> None:
    """Equal times have no order; unequal ones have."""

    async def body(log: list[str]) -> None:
        async def after(delay: float, name: str) -> None:
            await asyncio.sleep(delay)
            log.append(name)

        await asyncio.gather(after(1, "a"), after(1, "b"), after(2, "z"))

    assert orders(body) == {"abz", "baz"}
    assert orders(body, order="arrival") == {"abz", "baz"}


def test_arrival_keeps_the_order_of_the_stock_loop() -> None:
    """With order="arrival", tasks that are ready run as they would."""

    async def body(log: list[str]) -> None:
        async def task(name: str) -> None:
            log.append(name)

        await asyncio.gather(*(task(name) for name in "abc"))

    assert orders(body, order="arrival") == {"abc"}


def test_early_timers_fire_while_others_could_run() -> None:
    """Slow steps are explored when asked for; by default time stands still while anything can run."""

    async def body(log: list[str]) -> None:
        async def worker() -> None:
            await asyncio.sleep(0)
            log.append("w")

        task = asyncio.create_task(worker())
        try:
            async with asyncio.timeout(5):
                await task
        except TimeoutError:
            log.append("t")

    assert orders(body) == {"w"}
    assert orders(body, timers="early") == {"w", "t", "wt"}


def test_time_is_virtual_and_starts_anew() -> None:
    """Each schedule begins at 0 and jumps as the virtual loop does."""

    async def scenario() -> None:
        assert backstay.now() == 0.0
        await asyncio.sleep(3600)
        assert backstay.now() == 3600.0 == asyncio.get_running_loop().time()

    explore(scenario, schedules=3)


def test_a_cancelled_timer_never_fires() -> None:
    """Also one that was due already and waits for its turn."""

    async def scenario() -> None:
        fired: list[int] = []
        loop = asyncio.get_running_loop()
        loop.call_later(1, fired.append, 0).cancel()
        second = loop.call_later(2, fired.append, 1)
        loop.call_later(2, second.cancel)
        await asyncio.sleep(3)
        assert fired in ([], [1])

    explore(scenario, schedules=50)


def test_work_for_threads_is_a_step() -> None:
    """to_thread works, its result and its error come back, and its moment is explored."""

    async def body(log: list[str]) -> None:
        async def other() -> None:
            log.append("o")

        def fail() -> None:
            raise KeyError("k")

        task = asyncio.create_task(other())
        await asyncio.to_thread(log.append, "t")
        await task
        with pytest.raises(KeyError):
            await asyncio.to_thread(fail)

    assert orders(body) == {"ot", "to"}


def test_a_cancelled_thread_may_have_worked_or_not() -> None:
    """As with real ones, which are not stopped by a cancellation; its error is lost then."""
    worked: set[bool] = set()

    async def scenario() -> None:
        ran: list[bool] = []

        def work() -> None:
            ran.append(True)
            raise KeyError

        future = asyncio.get_running_loop().run_in_executor(None, work)
        future.cancel()
        await asyncio.sleep(1)
        worked.add(bool(ran))

    explore(scenario, schedules=20)
    assert worked == {True, False}


def test_wake_ups_of_our_own_primitives_are_those_of_tasks() -> None:
    """Our run queue would wake several tasks in one step; here each wake-up has its order."""
    from backstay.sync import Mutex
    from backstay.sync._wake_queue import wake_queue

    async def body(log: list[str]) -> None:
        queue = wake_queue()
        assert queue is wake_queue()
        waiters = [queue.waiter() for _ in range(3)]

        async def wait(number: int) -> None:
            await waiters[number]
            log.append(str(number))

        tasks = [asyncio.create_task(wait(number)) for number in range(3)]
        await asyncio.sleep(1)
        for waiter in waiters:
            queue.wake(waiter)
        await asyncio.wait(tasks)
        async with Mutex():
            pass

    assert len(orders(body)) == 6


def test_a_task_of_another_make_is_a_callback() -> None:
    """Somebody's own task class has no number of ours: it keeps its place in the order."""

    async def body(log: list[str]) -> None:
        async def step() -> None:
            log.append("x")

        loop = asyncio.get_running_loop()
        task: asyncio.Task[None] = asyncio.Task(step(), loop=loop)
        loop.call_soon(log.append, "y")
        await task
        await asyncio.sleep(0)

    assert orders(body) == {"xy"}


def test_a_real_thread_is_refused() -> None:
    """A thread that calls in comes when it likes, so it gets an error."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        caught: list[BaseException] = []

        def stranger() -> None:
            try:
                loop.call_soon_threadsafe(print)
            except UsageError as error:
                caught.append(error)

        thread = threading.Thread(target=stranger)
        thread.start()
        thread.join()
        assert "a thread called into an exploring loop" in str(caught[0])

    explore(scenario, schedules=1)


def test_sockets_are_refused() -> None:
    """What is not in memory cannot be repeated; the error says so."""

    async def scenario() -> None:
        a, b = socket.socketpair()
        with a, b:
            a.setblocking(False)
            await asyncio.get_running_loop().sock_recv(a, 1)

    with pytest.raises(ExplorationFailure, match="sockets and pipes have no schedule"):
        explore(scenario, schedules=1)


def test_the_loop_may_be_called_from_its_own_thread() -> None:
    """call_soon_threadsafe is a call_soon there."""

    async def scenario() -> None:
        done = asyncio.Event()
        asyncio.get_running_loop().call_soon_threadsafe(done.set)
        await done.wait()

    explore(scenario, schedules=2)


def test_a_set_of_tasks_is_walked_in_the_same_order_each_time() -> None:
    """A task's hash is its number, and not its address."""
    seen: set[tuple[int, ...]] = set()

    async def scenario() -> None:
        tasks = {asyncio.create_task(asyncio.sleep(0), name=str(n)) for n in range(20)}
        seen.add(tuple(int(task.get_name()) for task in tasks))
        await asyncio.wait(tasks)

    explore(scenario, schedules=20)
    assert len(seen) == 1


def test_eager_tasks_are_tasks_too() -> None:
    """An eager first step is not a choice, all later ones are."""
    eager = getattr(asyncio, "eager_task_factory", None)
    if eager is None:
        pytest.skip("eager tasks came with Python 3.12")

    async def scenario() -> None:
        asyncio.get_running_loop().set_task_factory(eager)
        await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0))

    explore(scenario, schedules=50)


def test_stuck_and_endless_are_failures_that_name_the_culprit() -> None:
    """A deadlock lists who waits where; a livelock is cut by the budget."""

    async def stuck() -> None:
        await asyncio.create_task(asyncio.Event().wait(), name="poor thing")

    with pytest.raises(ExplorationFailure, match="poor thing#2 waits at") as caught:
        explore(stuck)
    assert caught.value.kind == "deadlock"
    assert isinstance(caught.value.__cause__, DeadlockError)

    async def endless() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(ExplorationFailure, match="not finished after 100 steps") as caught:
        explore(endless, max_steps=100)
    assert isinstance(caught.value.__cause__, StepBudgetExceeded)


def test_a_report_of_many_stuck_tasks_is_bounded() -> None:
    """The first dozen are named, the rest is counted."""

    async def scenario() -> None:
        await asyncio.gather(*(asyncio.Event().wait() for _ in range(20)))

    with pytest.raises(ExplorationFailure, match="and 9 more"):
        explore(scenario)


def test_the_trace_names_timers_threads_and_callbacks() -> None:
    """Whatever takes a step can be told apart."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(1, int)
        loop.call_later(2, int).cancel()
        late = loop.call_later(3, int)
        loop.call_later(3, late.cancel)
        loop.call_soon(int)
        await asyncio.to_thread(int)
        await asyncio.sleep(5)
        raise KeyError

    with pytest.raises(ExplorationFailure) as caught:
        explore(scenario, schedules=1)
    trace = "\n".join(caught.value.trace)
    assert "callback int" in trace
    assert "timer int of 1 s" in trace
    assert "work of a thread" in trace
    assert "of 2 s" not in trace
