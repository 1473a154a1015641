"""Rings of tasks that wait for each other are named whole, and nothing else is called a ring."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Awaitable, Callable

import pytest

from backstay import Scope, timeout
from backstay.guard import Pool
from backstay.leak import Finding, report
from backstay.leak._deadlock import deadlocks
from backstay.sync import Mutex, RWMutex, Semaphore


def rings() -> list[Finding]:
    return [one for one in report().findings if one.verdict == "STUCK"]


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)
    await asyncio.sleep(1)


async def end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def start(*coroutines: tuple[str, Awaitable[None]]) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(work, name=name) for name, work in coroutines]  # the line


async def both(first, second) -> None:
    async with first:
        await asyncio.sleep(0)
        async with second:
            await asyncio.sleep(0)


@pytest.mark.parametrize("make", [asyncio.Lock, Mutex, lambda: Semaphore(1)])
async def test_two_locks_in_two_orders_are_a_ring(make: Callable[[], object]) -> None:
    """A holds L1 and waits for L2, which B holds while it waits for L1: both, with lines."""
    one, two = make(), make()
    tasks = start(("a", both(one, two)), ("b", both(two, one)))
    await settle()
    (found,) = rings()
    assert (found.verdict, found.count, found.alive) == ("STUCK", 2, 2)
    assert found.detail[0].startswith("deadlock: 2 tasks wait for each other in a ring")
    told = sorted(found.detail[1:3])
    line = both.__code__.co_firstlineno + 3
    assert told[0].startswith("'a' (started at ")
    assert f"test_deadlock.py:{line}, held up by 'b'" in told[0]
    assert f"test_deadlock.py:{line}, held up by 'a'" in told[1]
    assert found.held_by in ("task 'a'", "task 'b'")
    assert "one order everywhere" in found.advice
    await end(*tasks)
    assert rings() == []


async def test_a_ring_of_three_and_who_waits_behind_it() -> None:
    """The ring is told in its order; who merely waits for one of its locks is counted apart."""
    locks = [Mutex(name) for name in "xyz"]
    tasks = start(*((name, both(locks[k], locks[k - 1])) for k, name in enumerate("abc")))
    await settle()
    tasks += start(("late", both(locks[0], Mutex())), ("later", both(locks[1], Mutex())))
    await settle()
    (found,) = rings()
    assert (found.count, found.alive) == (3, 5)
    assert found.detail[-1] == "2 more wait behind them"
    followers = {line.split("'")[1]: line.split("'")[-2] for line in found.detail[1:4]}
    assert followers == {"a": "c", "b": "a", "c": "b"}
    await end(*tasks)


async def test_a_lock_taken_twice_is_a_ring_of_one() -> None:
    """`asyncio.Lock` is not re-entrant, and a task that takes it again waits for itself."""
    lock = asyncio.Lock()
    tasks = start(("twice", both(lock, lock)))
    await settle()
    (found,) = rings()
    assert (found.count, found.held_by) == (1, "task 'twice'")
    assert found.detail[0].startswith("deadlock: the task waits for what it holds itself")
    assert "take it once" in found.advice
    await end(*tasks)


async def test_tasks_that_await_each_other_are_a_ring() -> None:
    """Through an await, a gather, a task group, a wait or a scope."""
    tasks: dict[str, asyncio.Task[None]] = {}

    async def plain() -> None:
        await asyncio.sleep(0)
        await tasks["gathers"]

    async def gathers() -> None:
        await asyncio.sleep(0)
        await asyncio.gather(tasks["shields"])

    async def shields() -> None:
        await asyncio.sleep(0)
        await asyncio.shield(tasks["waits"])

    async def waits() -> None:
        await asyncio.sleep(0)
        await asyncio.wait([tasks["plain"]])

    for work in (plain, gathers, shields, waits):
        tasks[work.__name__] = asyncio.create_task(work())
    await settle()
    (found,) = rings()
    assert found.count == 4
    assert "waits for gather at" in " ".join(found.detail)
    await end(tasks["waits"])
    await end(*tasks.values())


async def test_a_child_that_waits_for_its_group_is_a_ring() -> None:
    """The group waits for the child, and the child for a lock that the group's task holds."""
    for structured in (False, True):
        lock = Mutex("state")

        async def child(lock: Mutex) -> None:
            async with lock:
                pass

        async def parent(lock: Mutex, structured: bool) -> None:
            async with lock:
                if structured:
                    async with Scope("inner") as scope:
                        scope.go(child, lock)
                else:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(child(lock))

        tasks = start(("parent", parent(lock, structured)))
        await settle()
        (found,) = rings()
        assert found.count == 2
        await end(*tasks)


async def test_readers_and_writers() -> None:
    """A writer waits for a reader that waits, through another lock, for a second writer's turn."""
    table, log = RWMutex("table"), Mutex("log")

    async def reads() -> None:
        async with table.read:
            await asyncio.sleep(0)
            async with log:
                pass

    tasks = start(("reads", reads()), ("writes", both(log, table.write)))
    await settle()
    (found,) = rings()
    assert found.count == 2
    assert "rwmutex write lock" in " ".join(found.detail)
    await end(*tasks)


async def test_a_pool_whose_every_holder_wants_another_one() -> None:
    """Nested acquire from one pool: nobody gives back, and everybody waits."""

    async def connect() -> object:
        return object()

    async with Pool(connect, max_open=2, name="db") as pool:

        async def nested() -> None:
            async with pool.take():
                await asyncio.sleep(0)
                async with pool.take():
                    pass

        tasks = start(("one", nested()), ("two", nested()))
        await settle()
        (found,) = rings()
        assert found.count == 2
        assert "pool at" in found.blocked_on
        await end(*tasks)


async def test_places_of_semaphores() -> None:
    """All holders must be held up: with one at work there is hope, and no accusation."""
    for make in (lambda: Semaphore(2), lambda: asyncio.BoundedSemaphore(2)):
        places = make()
        tasks = start(("one", both(places, places)), ("two", both(places, places)))
        await settle()
        (found,) = rings()
        assert found.count == 2
        await end(*tasks)
        places = make()

        async def works(places) -> None:
            async with places:
                await asyncio.Event().wait()

        tasks = start(("one", both(places, places)), ("works", works(places)))
        await settle()
        assert rings() == []
        await end(*tasks)


async def test_a_ring_of_several_places() -> None:
    """Who took three of four places and wants two more waits for itself."""
    places = Semaphore(4)
    tasks = start(("greedy", both(places.places(3), places.places(2))))
    await settle()
    (found,) = rings()
    assert found.count == 1
    await end(*tasks)


@pytest.mark.parametrize("limit", ["asyncio.timeout", "timeout", "wait_for", "scope", "outer"])
async def test_a_ring_that_a_timer_will_break_is_not_accused(limit: str) -> None:
    """Whatever holds the time limit: a block, `wait_for`, a scope, or whoever awaits the task."""
    one, two = asyncio.Lock(), asyncio.Lock()

    async def bounded() -> None:
        if limit == "asyncio.timeout":
            async with asyncio.timeout(100):
                await both(one, two)
        elif limit == "timeout":
            async with timeout(100):
                await both(one, two)
        elif limit == "wait_for":
            await asyncio.wait_for(both(one, two), 100)
        elif limit == "scope":
            async with Scope("s", timeout=100) as scope:
                scope.go(both, one, two)
        else:
            async with asyncio.timeout(100), asyncio.TaskGroup() as group:
                group.create_task(both(one, two))
                group.create_task(asyncio.Event().wait())

    tasks = start(("bounded", bounded()), ("b", both(two, one)))
    await settle()
    assert rings() == []
    await end(*tasks)


async def test_waiting_in_line_is_no_ring() -> None:
    """A chain, however long, ends in somebody who works."""
    lock = asyncio.Lock()

    async def work() -> None:
        async with lock:
            await asyncio.Event().wait()

    tasks = start(*((f"t{k}", work()) for k in range(20)))
    await settle()
    assert rings() == []
    await end(*tasks)


async def test_a_lock_that_was_let_go_for_a_condition_is_not_held() -> None:
    """`Condition.wait` gives its lock back: who waits there holds up nobody."""
    lock, other = asyncio.Lock(), asyncio.Lock()
    condition = asyncio.Condition(lock)

    async def consumer() -> None:
        async with lock, other:
            await condition.wait()

    async def producer() -> None:
        await asyncio.sleep(0)
        async with lock, other:
            condition.notify_all()

    async def through_condition() -> None:
        async with condition:
            await condition.wait()

    tasks = start(("consumer", consumer()), ("producer", producer()))
    await settle()
    # The producer holds `lock`, really, and waits for `other`, which the consumer holds while
    # it waits to be notified: nobody knows by whom, so nobody is accused.
    assert rings() == []
    await end(*tasks)
    tasks = start(("c", through_condition()), ("d", both(condition, other)))
    await settle()
    assert rings() == []
    await end(tasks[0])


async def test_a_holder_that_is_not_evident_is_not_guessed() -> None:
    """After a bare `acquire()` nobody knows who holds an `asyncio.Lock`."""
    one, two = asyncio.Lock(), asyncio.Lock()

    async def bare(first: asyncio.Lock, second: asyncio.Lock) -> None:
        await first.acquire()
        await asyncio.sleep(0)
        await second.acquire()

    tasks = start(("a", bare(one, two)), ("b", bare(two, one)))
    await settle()
    assert rings() == []
    await end(*tasks)


async def test_a_semaphore_that_does_not_know_its_size_is_not_judged() -> None:
    """Of an `asyncio.Semaphore` one cannot tell whether all holders are seen."""
    places = asyncio.Semaphore(1)
    tasks = start(("a", both(places, places)))
    await settle()
    assert rings() == []
    await end(*tasks)


async def test_a_gather_with_a_living_child_has_hope() -> None:
    """The other child may fail, and then the gather ends and the lock is let go."""
    lock = asyncio.Lock()

    async def child() -> None:
        async with lock:
            pass

    async def parent() -> None:
        async with lock:
            await asyncio.gather(child(), asyncio.Event().wait())

    tasks = start(("parent", parent()))
    await settle()
    assert rings() == []
    await end(*tasks)


async def test_a_task_that_is_being_cancelled_is_on_its_way_out() -> None:
    """A ring in which a cancel is under way breaks by itself."""
    one, two = Mutex("one"), Mutex("two")
    tasks = start(("a", both(one, two)), ("b", both(two, one)))
    await settle()
    tasks[0].cancel()
    assert rings() == []
    await end(*tasks)


async def test_a_crowd_is_asked_by_sample() -> None:
    """Among thousands the oldest of each function are read, and the ring is found."""
    one, two = Mutex("one"), Mutex("two")
    tasks = start(("a", both(one, two)), ("b", both(two, one)))
    await settle()
    crowd = start(*((f"c{k}", both(one, Mutex())) for k in range(1_500)))
    await settle()
    (found,) = rings()
    assert found.count == 2
    await end(*tasks, *crowd)


@pytest.mark.real_loop
async def test_another_thread_sees_the_ring_and_no_ring_in_traffic() -> None:
    """From outside, while the loop runs: a ring is found, and busy locks are no ring."""
    from backstay import install

    install(exact=True)
    loop = asyncio.get_running_loop()
    one, two = asyncio.Lock(), asyncio.Lock()

    async def busy() -> None:
        while True:
            await both(one, two)

    traffic = start(*((f"busy{k}", busy()) for k in range(8)))
    seen = [await asyncio.to_thread(deadlocks, loop) for _ in range(20)]
    assert seen == [[]] * 20
    await end(*traffic)
    locks = asyncio.Lock(), asyncio.Lock()
    tasks = start(("a", both(*locks)), ("b", both(*reversed(locks))))
    await asyncio.sleep(0.01)
    found = await asyncio.to_thread(deadlocks, loop)
    assert [one.count for one in found] == [2]
    assert threading.current_thread() is threading.main_thread()
    await end(*tasks)


async def test_the_look_keeps_nothing_alive() -> None:
    """Neither tasks nor locks survive it."""
    one, two = Mutex("one"), Mutex("two")
    tasks = start(("a", both(one, two)), ("b", both(two, one)))
    await settle()
    found = rings()
    assert found
    gone = [weakref.ref(tasks[0]), weakref.ref(one)]
    await end(*tasks)
    tasks.clear()
    del one, two
    await asyncio.sleep(0)
    gc.collect()
    assert [reference() for reference in gone] == [None, None]


async def test_a_loop_that_changes_under_the_look_is_not_judged(monkeypatch) -> None:
    """An error of the look is no finding, and no error of the report."""
    from backstay.leak import _deadlock

    def torn(_: object) -> list[object]:
        raise RuntimeError("Set changed size during iteration")

    monkeypatch.setattr(_deadlock, "live_tasks", torn)
    assert deadlocks(asyncio.get_running_loop()) == []
