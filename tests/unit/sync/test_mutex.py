"""Mutex: one at a time, in order, knowing who, and losing nothing when cancelled."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from backstay import now
from backstay._base import use_clock
from backstay.errors import LockMisuse
from backstay.sync import Mutex
from backstay.sync._mutex import _CALM_HOLDS
from backstay.testing import VirtualClock


async def hold(mutex: Mutex, seconds: float) -> None:
    """Hold a mutex for a while."""
    async with mutex:
        await asyncio.sleep(seconds)


async def held_by(mutex: Mutex, seconds: float = 10.0, name: str = "holder") -> asyncio.Task[None]:
    """Start a task that holds `mutex`, and return once it does."""
    task = asyncio.create_task(hold(mutex, seconds), name=name)
    await asyncio.sleep(0)
    assert mutex.locked()
    return task


async def test_one_at_a_time_in_order_of_arrival() -> None:
    """Sections never overlap, and who came first goes first."""
    mutex = Mutex()
    inside = 0
    order: list[int] = []

    async def worker(number: int) -> None:
        nonlocal inside
        async with mutex:
            inside += 1
            assert inside == 1
            order.append(number)
            await asyncio.sleep(0.01)
            inside -= 1

    await asyncio.gather(*(worker(n) for n in range(5)))
    assert order == list(range(5))
    assert not mutex.locked()


async def test_a_block_is_left_unlocked_whatever_happens() -> None:
    """An error in the section goes on and the mutex is free."""
    mutex = Mutex()
    with pytest.raises(KeyError):
        async with mutex:
            raise KeyError("x")
    assert not mutex.locked()
    async with mutex:
        pass


async def test_lock_and_unlock_by_hand() -> None:
    """The pair without a block does the same."""
    mutex = Mutex()
    await mutex.lock()
    assert not mutex.try_lock()
    mutex.unlock()
    assert mutex.try_lock()
    mutex.unlock()
    holder = await held_by(mutex, 1.0)
    await mutex.lock()
    assert now() == 1.0
    mutex.unlock()
    await holder


async def test_in_normal_mode_the_one_that_comes_by_is_faster() -> None:
    """Within the first millisecond, who unlocks may take it again before the first in line."""
    mutex = Mutex()
    order: list[str] = []

    async def waits() -> None:
        async with mutex:
            order.append("waiter")

    async with mutex:
        task = asyncio.create_task(waits())
        await asyncio.sleep(0)
    async with mutex:  # no await in between: the waiter has not run
        order.append("barging")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await task
    assert order == ["barging", "waiter"]
    assert mutex.statistics().handed_over == 1


async def test_after_a_millisecond_nobody_barges() -> None:
    """The mutex goes to the first in line, though another task comes by before it runs."""
    mutex = Mutex()
    order: list[str] = []

    async def waits() -> None:
        async with mutex:
            order.append("waiter")

    async with mutex:
        task = asyncio.create_task(waits())
        await asyncio.sleep(0.01)
    assert not mutex.try_lock()
    async with mutex:
        order.append("barging")
    await task
    assert order == ["waiter", "barging"]


async def test_taken_by_hand_while_an_offer_is_under_way() -> None:
    """What comes by may also use lock(), and the line waits for its unlock."""
    mutex = Mutex()
    async with mutex:
        task = asyncio.create_task(hold(mutex, 1.0))
        await asyncio.sleep(0)
    await mutex.lock()
    assert mutex.holder().site.startswith(__file__)  # type: ignore[union-attr]
    await asyncio.sleep(0.5)
    mutex.unlock()
    await task
    assert now() == 1.5


# -- cancellation -------------------------------------------------------------------


async def test_a_cancelled_waiter_is_passed_over() -> None:
    """Cancelled while waiting: the next in line gets it."""
    mutex = Mutex()
    holder = await held_by(mutex, 1.0)
    gone = asyncio.create_task(hold(mutex, 0))
    stays = asyncio.create_task(hold(mutex, 0))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(holder, stays)
    assert gone.cancelled()
    assert mutex.statistics().waiting == 0


@pytest.mark.parametrize("waited", [0.0, 1.0], ids=["normal", "starving"])
async def test_cancelled_after_the_hand_over(waited: float) -> None:
    """A waiter that was given the mutex and is cancelled before it runs passes it on."""
    mutex = Mutex()
    async with mutex:
        gone = asyncio.create_task(hold(mutex, 0), name="gone")
        stays = asyncio.create_task(hold(mutex, 0), name="stays")
        await asyncio.sleep(waited)
        await asyncio.sleep(0)
    while mutex.holder() is None or mutex.holder().task != "gone":  # type: ignore[union-attr]
        await asyncio.sleep(0)
        if gone.done():
            break
    gone.cancel()
    await asyncio.wait([gone, stays])
    assert not stays.cancelled()
    assert not mutex.locked()
    assert mutex.statistics().waiting == 0


async def test_a_waiter_that_is_closed_leaves_the_line() -> None:
    """A coroutine that is thrown away while it waits does not hold up the next."""
    mutex = Mutex()
    holder = await held_by(mutex, 1.0)
    thrown_away = mutex.lock()
    thrown_away.send(None)
    assert mutex.statistics().waiting == 1
    thrown_away.close()
    assert mutex.statistics().waiting == 0
    async with mutex:
        assert now() == 1.0
    await holder


# -- misuse ---------------------------------------------------------------------------


async def test_taking_it_twice_is_an_error_and_no_deadlock() -> None:
    """The message says that you are the holder, since when, and where you took it."""
    mutex = Mutex("cache")
    async with mutex:
        await asyncio.sleep(3.2)
        with pytest.raises(
            LockMisuse, match=r"takes mutex 'cache' a second time.*held it for 3\.2 s"
        ) as caught:
            async with mutex:
                pass
        assert caught.value.lock == "cache"
        assert caught.value.held_s == 3.2
        with pytest.raises(LockMisuse, match="second time"):
            await mutex.lock()
    assert not mutex.locked()


async def test_a_stranger_cannot_unlock() -> None:
    """Only the holder unlocks; the message names it, since when, and what it waits for."""
    mutex = Mutex("cache")
    holder = await held_by(mutex, name="worker-1")
    await asyncio.sleep(2)
    with pytest.raises(
        LockMisuse,
        match=r"mutex 'cache' cannot be unlocked by anybody but its holder: task 'worker-1' has held it "
        r"for 2 s \(now in sleep .*test_mutex.py:\d+\)\. .*Semaphore\(1\)",
    ) as caught:
        mutex.unlock()
    assert caught.value.holder == "worker-1"
    holder.cancel()


async def test_tried_while_it_is_watched() -> None:
    """What try_lock takes is noted like everything else, once somebody had to wait."""
    mutex = Mutex()
    holder = await held_by(mutex, 0.1)
    async with mutex:
        pass
    assert mutex.try_lock()
    assert mutex.holder().site.startswith(__file__)  # type: ignore[union-attr]
    mutex.unlock()
    await holder


async def test_nobody_unlocks_what_is_free() -> None:
    """Free from the start, free again, and free with the memory of a wait."""
    mutex = Mutex("m")
    for _ in range(2):
        with pytest.raises(LockMisuse, match="mutex 'm' is unlocked and cannot be unlocked again"):
            mutex.unlock()
        holder = await held_by(mutex, 0.1)
        async with mutex:
            pass
        await holder


async def test_a_block_unlocks_by_itself() -> None:
    """unlock() inside `async with` would let the block's end unlock somebody else's mutex."""
    mutex = Mutex("m")
    async with mutex:
        with pytest.raises(LockMisuse, match="inside the `async with` that holds it"):
            mutex.unlock()
    await mutex.lock()
    mutex.unlock()


async def test_who_was_handed_the_mutex_holds_it_before_it_runs() -> None:
    """Not even the task for which it was asked may unlock before the asking has returned."""
    mutex = Mutex()
    async with mutex:
        inner = asyncio.create_task(mutex.lock())  # asked by us, from a task of its own
        with pytest.raises(LockMisuse, match="second time"):
            await inner
    gate = asyncio.Event()

    async def holds() -> None:
        async with mutex:
            await gate.wait()

    holder = asyncio.create_task(holds())
    await asyncio.sleep(0)
    inner = asyncio.create_task(mutex.lock())
    await asyncio.sleep(1)
    gate.set()
    await asyncio.sleep(0)  # the holder has handed over, and `inner` has not run
    with pytest.raises(LockMisuse, match="anybody but its holder"):
        mutex.unlock()
    await inner
    mutex.unlock()
    await holder


async def test_the_next_in_line_hears_of_a_holder_that_ended() -> None:
    """Whoever forgets to unlock is named, where asyncio would wait for ever."""
    mutex = Mutex("m")
    await asyncio.create_task(mutex_forgetter(mutex), name="forgetful")
    with pytest.raises(LockMisuse, match=r"for ever: task 'forgetful' .*that task has ended"):
        async with mutex:
            pass


async def mutex_forgetter(mutex: Mutex) -> None:
    """Take a mutex and end."""
    await mutex.lock()


async def test_a_callback_is_no_task() -> None:
    """A mutex is held by a task, so plain callbacks are refused."""
    mutex = Mutex("m")
    caught: list[BaseException] = []

    def callback() -> None:
        try:
            mutex.try_lock()
        except LockMisuse as error:
            caught.append(error)

    asyncio.get_running_loop().call_soon(callback)
    await asyncio.sleep(0)
    assert "outside of a task" in str(caught[0])


# -- what it knows ----------------------------------------------------------------------


async def test_the_holder_is_known_without_a_wait() -> None:
    """Name, time and occupation of the holder; the line only once somebody had to wait."""
    mutex = Mutex("m")
    assert mutex.holder() is None
    assert mutex._in_words() == "'m' is free"
    task = await held_by(mutex, name="worker")
    assert mutex._in_words() == "'m' held by 'worker' for 0.0 s"
    await asyncio.sleep(1.5)
    holder = mutex.holder()
    assert holder is not None
    assert (holder.task, holder.held_s, holder.site) == ("worker", 1.5, "")
    assert holder.doing.startswith("sleep")
    assert repr(mutex) == "<Mutex 'm' held by 'worker' for 1.5 s>"
    task.cancel()
    await asyncio.wait([task])
    assert repr(mutex) == "<Mutex 'm' free>"


async def test_from_the_first_wait_on_the_line_is_known() -> None:
    """A watched mutex notes where each holder took it."""
    mutex = Mutex("m")
    task = await held_by(mutex, 0.1)
    waiting = asyncio.create_task(hold(mutex, 0.1))
    await asyncio.sleep(0)
    assert repr(mutex) == "<Mutex 'm' held by 'holder' for 0 s waiting=1>"
    await asyncio.sleep(0.15)
    assert mutex.holder().site.endswith(f"test_mutex.py:{hold.__code__.co_firstlineno + 2}")  # type: ignore[union-attr]
    await asyncio.gather(task, waiting)
    async with mutex:
        line = sys._getframe().f_lineno - 1
        assert mutex.holder().site == f"{__file__}:{line}"  # type: ignore[union-attr]


async def test_statistics_count_waits_and_holds() -> None:
    """One second of waiting, and how long it was held meanwhile."""
    mutex = Mutex("m")
    empty = mutex.statistics()
    assert (empty.name, empty.waiting, empty.wait.count, empty.hold.count) == ("m", 0, 0, 0)
    task = await held_by(mutex, 1.0)
    waiting = asyncio.create_task(hold(mutex, 2.0))
    await asyncio.sleep(0)
    assert mutex.statistics().waiting == 1
    await asyncio.gather(task, waiting)
    statistics = mutex.statistics()
    assert statistics.wait.count == 1
    assert statistics.wait.longest_s == 1.0
    assert statistics.hold.count == 2
    assert statistics.hold.total_s == 3.0
    assert statistics.holder is None
    assert statistics.handed_over == 1


async def test_watching_ends_when_nobody_has_to_wait_any_more() -> None:
    """After a thousand holds that delayed nobody the mutex is as cheap as at first."""
    mutex = Mutex()
    holder = await held_by(mutex, 0.1)
    async with mutex:
        pass
    await holder
    for _ in range(_CALM_HOLDS):
        async with mutex:
            pass
    assert mutex._watch is None
    counted = mutex.statistics().hold.count
    async with mutex:
        pass
    assert mutex.statistics().hold.count == counted  # not watched, and what was counted is kept
    holder = await held_by(mutex, 0.1)
    async with mutex:
        pass
    await holder
    assert mutex.statistics().wait.count == 2


# -- loops ------------------------------------------------------------------------------


def test_a_mutex_left_locked_in_a_closed_loop_is_free_in_the_next() -> None:
    """Whoever held it or waited for it there can never come back."""
    mutex = Mutex("global")
    loop = asyncio.new_event_loop()

    async def leave() -> None:
        await mutex.lock()

    loop.run_until_complete(leave())
    waiting = loop.create_task(hold_after_closing(mutex))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert mutex.locked()

    async def main() -> None:
        async with mutex:
            assert mutex.holder() is not None
        task = await held_by(mutex, 0)
        async with mutex:
            pass
        await task

    asyncio.run(main())
    asyncio.run(main())
    assert waiting.done() or not waiting._log_destroy_pending  # type: ignore[attr-defined]


async def hold_after_closing(mutex: Mutex) -> None:
    """Wait for a mutex in a loop that is closed meanwhile."""
    task = asyncio.current_task()
    task._log_destroy_pending = False  # type: ignore[union-attr]
    try:
        async with mutex:
            pass
    except LockMisuse:
        pass


def test_what_was_held_over_the_end_of_its_loop() -> None:
    """A section whose coroutine is closed after its loop is gone frees the mutex quietly."""
    mutex = Mutex()
    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(hold(mutex, 10)) for _ in range(2)]
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    for task in tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        task.get_coro().close()  # type: ignore[union-attr]
    assert not mutex.locked()


def test_a_held_mutex_is_not_shared_between_loops() -> None:
    """Asking for it in a second loop, while the first has it, is refused."""
    mutex = Mutex("mine")
    loop = asyncio.new_event_loop()
    task = loop.create_task(hold(mutex, 0))
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert mutex.locked()

    async def elsewhere() -> None:
        async with mutex:
            pass

    with pytest.raises(RuntimeError, match="in use in another event loop"):
        asyncio.run(elsewhere())
    loop.run_until_complete(task)
    loop.close()


# -- for conditions -----------------------------------------------------------------------


def me() -> asyncio.Task[Any]:
    """Return the running task."""
    task = asyncio.current_task()
    assert task is not None
    return task


async def test_stepping_out_and_in_again() -> None:
    """How it was taken is remembered, and how it is watched goes on."""
    mutex = Mutex("m")
    with pytest.raises(LockMisuse, match="test needs mutex 'm' to be held by the calling task"):
        mutex._step_out(me(), "test")
    await mutex.lock()
    with pytest.raises(LockMisuse, match="held by the calling task"):
        mutex._step_out(None, "test")
    assert mutex._step_out(me(), "test") is True
    assert not mutex.locked()
    holder = await held_by(mutex, 1.0)
    assert await mutex._step_in(me(), True) is None
    assert now() == 1.0
    mutex.unlock()
    async with mutex:
        assert mutex._step_out(me(), "test") is False
        assert await mutex._step_in(me(), False) is None
    await holder


async def test_a_cancel_while_stepping_in_comes_out_late() -> None:
    """The mutex is held when the cancellation is told, as the block around expects."""
    mutex = Mutex()
    holder = await held_by(mutex, 1.0)
    told: list[Any] = []

    async def steps_in() -> None:
        told.append(await mutex._step_in(me(), False))
        told.append((now(), mutex.holder().task))  # type: ignore[union-attr]
        await mutex.__aexit__(None, None, None)

    task = asyncio.create_task(steps_in(), name="in")
    await asyncio.sleep(0.5)
    task.cancel()
    await asyncio.wait([holder, task])
    assert isinstance(told[0], asyncio.CancelledError)
    assert told[1] == (1.0, "in")


async def test_closed_while_stepping_in() -> None:
    """The end of a block whose coroutine is closed frees nothing that belongs to others."""
    mutex = Mutex()
    holder = await held_by(mutex, 1.0)

    async def block() -> None:
        try:
            await mutex._step_in(me(), False)
        finally:
            await mutex.__aexit__(None, None, None)

    coroutine = block()
    coroutine.send(None)
    coroutine.close()
    assert mutex.holder().task == "holder"  # type: ignore[union-attr]
    mutex._step_in_closed(me(), True)  # by hand: its unlock() refuses, so nothing is noted
    await holder
    assert not mutex.locked()
    mutex._step_in_closed(me(), True)  # free: taken again, and unlocked by who closes
    mutex.unlock()


async def test_an_offer_that_comes_too_late_is_dropped() -> None:
    """Whoever was in line may be gone when the offer runs."""
    mutex = Mutex()
    async with mutex:
        gone = asyncio.create_task(hold(mutex, 0))
        await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait([gone])
    await asyncio.sleep(0)
    assert not mutex.locked()


async def test_the_loop_of_a_holder_that_had_not_noted_it() -> None:
    """From 3.12 on the fast path notes no loop; then the first wait asks the holder."""
    mutex = Mutex()
    holder = await held_by(mutex, 1.0)
    mutex._loop = None
    async with mutex:
        assert now() == 1.0
    await holder


def test_what_a_closed_loop_had_given_is_not_given_back() -> None:
    """A hand-over that nobody will ever take up is forgotten with its loop."""
    mutex = Mutex()
    clock = VirtualClock()
    loop = asyncio.new_event_loop()

    async def enter() -> asyncio.Task[None]:
        await mutex.__aenter__()
        task = loop.create_task(hold(mutex, 0), name="heir")
        await asyncio.sleep(0)
        return task

    with use_clock(clock):
        heir = loop.run_until_complete(enter())
        clock.advance(1.0)
        loop.call_soon(mutex.__aexit__, None, None, None)
        loop.call_soon(loop.stop)
        loop.run_forever()
    assert mutex.holder().task == "heir"  # type: ignore[union-attr]
    loop.close()

    async def main() -> None:
        async with mutex:
            heir._log_destroy_pending = False  # type: ignore[attr-defined]
            heir.get_coro().close()  # type: ignore[union-attr]
            assert mutex.locked()

    asyncio.run(main())


async def test_the_offer_finds_the_mutex_taken() -> None:
    """Then the next unlock makes another one, and one is under way at most."""
    mutex = Mutex()
    async with mutex:
        waiting = asyncio.create_task(hold(mutex, 0))
        await asyncio.sleep(0)
    async with mutex:
        pass
    async with mutex:
        await asyncio.sleep(0)
    await waiting
    assert mutex.statistics().handed_over == 1
