"""Bulkhead: places, a line bounded in length and time, and its order."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from backstay import now, timeout
from backstay._base import CallRejected, GuardMoved, call_rejected, guard_moved
from backstay.errors import DeadlineExceeded, ExpiredError, FullError, GuardMisuse, SyncMisuse
from backstay.guard import find
from backstay.guard._bulkhead import UNCHANGED, Bulkhead
from backstay.testing import wait_all_blocked


async def hold(bulkhead: Bulkhead, seconds: float) -> float:
    """Be in for a while; return when that began."""
    async with bulkhead:
        began = now()
        await asyncio.sleep(seconds)
    return began


def holders(bulkhead: Bulkhead, count: int, seconds: float) -> list[asyncio.Task[float]]:
    return [asyncio.create_task(hold(bulkhead, seconds)) for _ in range(count)]


# -- places ------------------------------------------------------------------------------


async def test_no_more_than_n_at_once_in_order_of_arrival() -> None:
    """Six calls of 10 ms on two places take 30 ms."""
    bulkhead = Bulkhead(2, queue=4, name="b")
    tasks = holders(bulkhead, 6, 0.01)
    await asyncio.sleep(0.005)
    assert (bulkhead.n, bulkhead.in_flight, bulkhead.queued) == (2, 2, 4)
    assert repr(bulkhead) == "<Bulkhead 'b' 2 of 2 waiting=4>"
    assert bulkhead._in_words() == "'b' 2 of 2 in flight, 4 waiting"
    began = await asyncio.gather(*tasks)
    assert began == pytest.approx([0.0, 0.0, 0.01, 0.01, 0.02, 0.02])
    statistics = bulkhead.statistics()
    assert (statistics.in_flight, statistics.queued, statistics.rejected) == (0, 0, 0)
    assert statistics.wait.count == 4
    assert statistics.wait.longest_s == pytest.approx(0.02)
    assert repr(bulkhead) == "<Bulkhead 'b' 0 of 2>"


async def test_take_does_not_wait() -> None:
    """It says whether there was a place."""
    bulkhead = Bulkhead(1)
    assert bulkhead.take()
    assert not bulkhead.take()
    bulkhead.release()
    assert bulkhead.take()
    bulkhead.release()


async def test_places_belong_to_nobody() -> None:
    """One task takes a place and a callback gives it back."""
    bulkhead = Bulkhead(1, target=None)
    await bulkhead.acquire()
    asyncio.get_running_loop().call_later(1.0, bulkhead.release)
    await bulkhead.acquire()
    assert now() == 1.0
    bulkhead.release()


async def test_more_back_than_taken_is_refused() -> None:
    """A release too many would let too many in later, also by way of a block."""
    bulkhead = Bulkhead(2, name="b")
    with pytest.raises(GuardMisuse, match="'b' cannot get a place back: all 2 are free"):
        bulkhead.release()
    async with bulkhead:
        bulkhead.release()
        with pytest.raises(GuardMisuse, match="all 2 are free"):
            await bulkhead.__aexit__(None, None, None)
        assert bulkhead.take()
    assert bulkhead.in_flight == 0


# -- around calls --------------------------------------------------------------------------


async def test_it_goes_around_a_function_a_call_and_a_block() -> None:
    """In each way one place is taken, and given back also after an error."""
    bulkhead = Bulkhead(1, queue=0)

    @bulkhead
    async def divide(a: int, *, by: int) -> float:
        assert bulkhead.in_flight == 1
        return a / by

    assert inspect.iscoroutinefunction(divide)
    assert await divide(6, by=3) == 2.0
    with pytest.raises(ZeroDivisionError):
        await divide(6, by=0)
    with pytest.raises(ZeroDivisionError):
        await bulkhead.call(divide.__wrapped__, 1, by=0)  # type: ignore[attr-defined]
    async with bulkhead.permit():
        assert bulkhead.in_flight == 1
        with pytest.raises(FullError):
            await bulkhead.call(divide, 1, by=1)
    assert bulkhead.in_flight == 0


async def test_a_call_that_waits_is_made_when_its_turn_comes() -> None:
    """The same line as for blocks; leaving it by an error hands the place on."""
    bulkhead = Bulkhead(1)

    async def fail() -> None:
        await asyncio.sleep(0.01)
        raise OSError

    tasks = [asyncio.create_task(bulkhead.call(fail)) for _ in range(2)]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [OSError, OSError]
    assert now() == pytest.approx(0.02)
    assert bulkhead.in_flight == 0


# -- the line ----------------------------------------------------------------------------------


async def test_a_full_line_says_no_at_once() -> None:
    """With what was seen and what to do, and when to come back."""
    bulkhead = Bulkhead(1, name="payments")
    tasks = holders(bulkhead, 2, 0.01)
    await asyncio.sleep(0)
    heard: list[CallRejected] = []
    unsubscribe = call_rejected.subscribe(heard.append)
    with pytest.raises(FullError, match=r"1 calls in flight, 1 waiting \(n=1, queue=1\)") as caught:
        await bulkhead.acquire()
    unsubscribe()
    assert (caught.value.reason, caught.value.policy) == ("full", "payments")
    assert caught.value.retry_after == 0.1
    assert heard == [CallRejected("payments", "bulkhead", "full", 0.1)]
    await asyncio.gather(*tasks)
    statistics = bulkhead.statistics()
    assert (statistics.rejected, statistics.full, statistics.late) == (1, 1, 0)


async def test_who_waits_longer_than_an_interval_is_sent_away() -> None:
    """Calls that hang do not make those in line hang, too."""
    bulkhead = Bulkhead(1, queue=4, name="b")
    (hanging,) = holders(bulkhead, 1, 9.0)
    await asyncio.sleep(0)
    with pytest.raises(FullError, match=r"wait for 0\.1 s: the line has not been empty for 0\.1 s"):
        await bulkhead.acquire()
    assert now() == pytest.approx(0.1)
    assert bulkhead.statistics().late == 1
    assert bulkhead.queued == 0
    await hanging


async def test_in_an_overload_nobody_waits_longer_than_the_target() -> None:
    """Once the line has been there for an interval, patience is 20 ms."""
    bulkhead = Bulkhead(1, queue=50)
    assert bulkhead.take()

    async def visit() -> float:
        came = now()
        with pytest.raises(FullError):
            await bulkhead.acquire()
        return now() - came

    visits = []
    for _ in range(30):
        visits.append(asyncio.create_task(visit()))
        await asyncio.sleep(0.01)
    waited = await asyncio.gather(*visits)
    assert waited[0] == pytest.approx(0.1)
    assert waited[-1] == pytest.approx(0.02)
    assert bulkhead.statistics().late == 30
    bulkhead.release()


async def test_in_an_overload_the_newest_is_served_first() -> None:
    """From the first who is sent away until the line is empty; then again the oldest."""
    bulkhead = Bulkhead(1, queue=50)
    assert bulkhead.take()
    served: list[float] = []

    async def visit() -> None:
        came = now()
        try:
            async with bulkhead:
                served.append(came)
        except FullError:
            pass

    visits = [asyncio.create_task(visit())]
    for came in (0.09, 0.095):
        await asyncio.sleep(came - now())
        visits.append(asyncio.create_task(visit()))
    await asyncio.sleep(0.101 - now())
    assert bulkhead.statistics().overloaded
    assert (bulkhead.statistics().late, bulkhead.queued) == (1, 2)
    bulkhead.release()
    await asyncio.gather(*visits)
    assert served == [0.095, 0.09]
    assert not bulkhead.statistics().overloaded
    served.clear()
    assert bulkhead.take()
    visits = [asyncio.create_task(visit())]
    await asyncio.sleep(0.01)
    visits.append(asyncio.create_task(visit()))
    await asyncio.sleep(0)
    bulkhead.release()
    await asyncio.gather(*visits)
    assert served == sorted(served)


async def test_a_line_that_moves_quickly_is_served_in_order_however_long_it_is_there() -> None:
    """Never empty for half a second, and nobody waits for 20 ms: no overload."""
    bulkhead = Bulkhead(1, queue=5)
    served: list[int] = []

    async def visit(number: int) -> None:
        async with bulkhead:
            served.append(number)
            await asyncio.sleep(0.005)

    await asyncio.gather(*(visit(number) for number in range(2)))
    visits = [asyncio.create_task(visit(number)) for number in range(2, 5)]
    for number in range(5, 105):
        await asyncio.sleep(0.005)
        visits.append(asyncio.create_task(visit(number)))
    await asyncio.gather(*visits)
    assert served == list(range(105))
    assert bulkhead.statistics().late == 0


async def test_after_a_pause_of_the_process_what_came_free_is_given_out_first() -> None:
    """A loop that is late itself is not the fault of those in line."""
    bulkhead = Bulkhead(2)
    tasks = holders(bulkhead, 4, 0.05)
    await asyncio.sleep(0.01)
    asyncio.get_running_loop().clock.advance(0.3)  # type: ignore[attr-defined]
    await asyncio.gather(*tasks)
    assert bulkhead.statistics().late == 0


async def test_max_wait_holds_with_and_without_codel() -> None:
    """A limit of its own on how long anybody waits."""
    for bulkhead in (Bulkhead(1, max_wait=0.05), Bulkhead(1, max_wait=0.05, target=None)):
        assert bulkhead.take()
        began = now()
        with pytest.raises(FullError, match=r"max_wait is 0\.05 s"):
            await bulkhead.acquire()
        assert now() - began == pytest.approx(0.05)
        bulkhead.release()


async def test_without_codel_and_max_wait_one_waits_as_long_as_it_takes() -> None:
    """No timer is set either."""
    bulkhead = Bulkhead(1, target=None)
    assert bulkhead.take()
    task = asyncio.create_task(bulkhead.acquire())
    await asyncio.sleep(60)
    assert bulkhead._timer is None
    assert not task.done()
    bulkhead.release()
    await task
    bulkhead.release()


async def test_a_line_without_room_refuses_at_once() -> None:
    """queue=0: a place or a no."""
    bulkhead = Bulkhead(1, queue=0)
    async with bulkhead:
        with pytest.raises(FullError):
            await bulkhead.acquire()


# -- cancelling -----------------------------------------------------------------------------------


async def test_a_cancelled_wait_takes_nothing() -> None:
    """Those behind move up, and its room in line is free again."""
    bulkhead = Bulkhead(1, queue=2)
    first, gone, last = holders(bulkhead, 3, 0.01)
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait([gone])
    assert bulkhead.queued == 1
    assert await last == pytest.approx(0.01)
    await first
    assert bulkhead.in_flight == 0


async def test_cancelled_after_the_place_was_given() -> None:
    """It goes to the next in line."""
    bulkhead = Bulkhead(1, queue=2)
    assert bulkhead.take()
    gone, last = holders(bulkhead, 2, 0.01)
    await wait_all_blocked()
    bulkhead.release()
    gone.cancel()
    await asyncio.wait([gone, last])
    assert gone.cancelled()
    assert last.result() == 0.0
    assert bulkhead.in_flight == 0


async def test_cancelled_after_it_was_sent_away() -> None:
    """The cancel wins, and there is no place to give back."""
    bulkhead = Bulkhead(1)
    assert bulkhead.take()
    task = asyncio.create_task(bulkhead.acquire())
    await asyncio.sleep(0)
    bulkhead._drop_until(now() + 1)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert (bulkhead.in_flight, bulkhead.queued) == (1, 0)
    bulkhead.release()


async def test_one_that_is_being_cancelled_is_passed_over() -> None:
    """Its waiter is done before its task has run: the place goes to the next."""
    bulkhead = Bulkhead(1, queue=2)
    assert bulkhead.take()
    gone, last = holders(bulkhead, 2, 0.01)
    await wait_all_blocked()
    gone.cancel()
    bulkhead.release()
    assert bulkhead.take() is False
    assert bulkhead.queued == 1  # the cancelled one, until it runs
    await asyncio.wait([gone, last])
    assert (bulkhead.in_flight, bulkhead.queued) == (0, 0)
    assert last.result() == 0.0


async def test_a_deadline_ends_the_wait() -> None:
    """The time limit of the block around counts; one that has passed does not even begin to wait."""
    bulkhead = Bulkhead(1, name="b", target=None)
    assert bulkhead.take()
    with pytest.raises(DeadlineExceeded):
        async with timeout(1.0):
            await bulkhead.acquire()
    assert bulkhead.queued == 0
    with pytest.raises(ExpiredError, match="the caller's deadline has passed"):
        async with timeout(0.0):
            await bulkhead.acquire()
    assert bulkhead.statistics().expired == 1
    bulkhead.release()
    async with timeout(0.0):
        assert bulkhead.take()  # with a place free there is nothing to wait for
    bulkhead.release()


# -- shadow mode ------------------------------------------------------------------------------------


async def test_shadow_mode_counts_and_lets_everybody_in_at_once() -> None:
    """What it would have refused is known, and nobody has waited."""
    bulkhead = Bulkhead(1, queue=1, name="b", mode="shadow")
    heard: list[CallRejected] = []
    unsubscribe = call_rejected.subscribe(heard.append)
    await asyncio.gather(*holders(bulkhead, 4, 1.0))
    unsubscribe()
    assert now() == 1.0
    statistics = bulkhead.statistics()
    assert (statistics.in_flight, statistics.full, statistics.rejected) == (0, 2, 2)
    assert [event.shadow for event in heard] == [True, True]


async def test_who_waits_when_it_is_put_in_the_shadow_is_let_in_late() -> None:
    """At the moment at which it would have been sent away."""
    bulkhead = Bulkhead(1)
    assert bulkhead.take()
    task = asyncio.create_task(bulkhead.acquire())
    await asyncio.sleep(0)
    bulkhead.update(mode="shadow")
    await task
    assert now() == pytest.approx(0.1)
    assert bulkhead.in_flight == 2
    bulkhead.release()
    bulkhead.release()


# -- live changes ------------------------------------------------------------------------------------


async def test_more_places_are_given_to_those_in_line_at_once() -> None:
    """And the change is told."""
    bulkhead = Bulkhead(1, queue=5, name="b")
    tasks = holders(bulkhead, 4, 0.05)
    await asyncio.sleep(0.01)
    moves: list[GuardMoved] = []
    unsubscribe = guard_moved.subscribe(moves.append)
    bulkhead.update(n=3)
    bulkhead.update(n=3)  # nothing new: not told
    unsubscribe()
    assert (bulkhead.in_flight, bulkhead.queued) == (3, 1)
    assert len(moves) == 1
    assert (moves[0].guard, moves[0].kind, moves[0].why) == ("b", "bulkhead", "update()")
    assert moves[0].before.startswith("n=1 queue=5")
    assert moves[0].after.startswith("n=3 queue=5")
    assert await asyncio.gather(*tasks) == pytest.approx([0.0, 0.01, 0.01, 0.05])


async def test_fewer_places_let_those_in_finish() -> None:
    """Nobody new comes in until there are fewer than the new number."""
    bulkhead = Bulkhead(3, queue=3)
    tasks = [asyncio.create_task(hold(bulkhead, 0.01 * (n + 1))) for n in range(3)]
    late = asyncio.create_task(hold(bulkhead, 0.01))
    await asyncio.sleep(0.001)
    bulkhead.update(n=1)
    assert (bulkhead.in_flight, bulkhead.n) == (3, 1)
    assert not bulkhead.take()
    assert await late == pytest.approx(0.03)
    await asyncio.gather(*tasks)
    assert bulkhead.in_flight == 0
    assert bulkhead.statistics().limit == 1


async def test_the_line_follows_n_unless_it_was_given() -> None:
    """As many may wait as are let in."""
    bulkhead = Bulkhead(2)
    bulkhead.update(n=5)
    assert bulkhead.statistics().queue == 5
    bulkhead.update(queue=1)
    bulkhead.update(n=7)
    assert bulkhead.statistics().queue == 1
    bulkhead.update(queue=None)
    assert bulkhead.statistics().queue == 7
    bulkhead.update(n=3)
    assert bulkhead.statistics().queue == 3


async def test_new_times_count_for_those_in_line() -> None:
    """A shorter wait ends sooner."""
    bulkhead = Bulkhead(1)
    assert bulkhead.take()
    task = asyncio.create_task(bulkhead.acquire())
    await asyncio.sleep(0.01)
    bulkhead.update(max_wait=0.03, target=0.01, interval=0.2)
    with pytest.raises(FullError):
        await task
    assert now() == pytest.approx(0.03)
    bulkhead.update(max_wait=None, target=None)
    assert bulkhead._settings() == "n=1 queue=1 target=inf interval=0.2 max_wait=inf mode=enforce"
    bulkhead.release()


@pytest.mark.parametrize("change", [{"n": 0}, {"queue": -1}, {"target": 0.0}, {"mode": "off"}])
async def test_a_change_that_makes_no_sense_changes_nothing(change: dict[str, object]) -> None:
    """All of it is looked at first."""
    bulkhead = Bulkhead(2)
    before = bulkhead._settings()
    with pytest.raises(ValueError, match="not"):
        bulkhead.update(**{"n": 5, **change})  # type: ignore[arg-type]
    assert bulkhead._settings() == before


@pytest.mark.parametrize(
    "options", [{"n": 0}, {"queue": -1}, {"target": -1.0}, {"max_wait": 0.0}, {"mode": "off"}]
)
def test_nonsense_is_refused_when_it_is_made(options: dict[str, object]) -> None:
    """With the number in the message."""
    with pytest.raises(ValueError, match="not"):
        Bulkhead(**options)  # type: ignore[arg-type]


def test_it_is_found_by_name() -> None:
    """As every guard."""
    bulkhead = Bulkhead(name="found by name")
    assert find("found by name", "bulkhead") is bulkhead
    assert repr(UNCHANGED) == "UNCHANGED"


# -- loops -------------------------------------------------------------------------------------------


def test_one_run_after_another() -> None:
    """A global bulkhead outlives a loop, together with the timer that was set in it."""
    bulkhead = Bulkhead(1)

    async def crowd() -> None:
        assert bulkhead.take()
        waiting = asyncio.create_task(bulkhead.acquire())
        await asyncio.sleep(0)
        bulkhead.release()
        await waiting
        bulkhead.release()

    async def hang() -> None:
        assert bulkhead.take()
        with pytest.raises(FullError):
            await bulkhead.acquire()
        bulkhead.release()

    asyncio.run(crowd())
    assert bulkhead._timer is not None
    asyncio.run(hang())


def test_in_turns_in_two_loops() -> None:
    """A timer that is left over in another loop is of no use in this one."""
    bulkhead = Bulkhead(1)

    async def crowd() -> None:
        assert bulkhead.take()
        waiting = asyncio.create_task(bulkhead.acquire())
        await asyncio.sleep(0)
        bulkhead.release()
        await waiting
        bulkhead.release()

    async def hang() -> None:
        assert bulkhead.take()
        with pytest.raises(FullError):
            await bulkhead.acquire()
        bulkhead.release()

    one, two = asyncio.new_event_loop(), asyncio.new_event_loop()
    one.run_until_complete(crowd())
    two.run_until_complete(hang())
    one.close()
    two.close()


def test_closed_after_its_loop() -> None:
    """A waiter whose coroutine is closed when the loop is gone takes nothing and wakes nobody."""
    bulkhead = Bulkhead(1, queue=5)
    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(hold(bulkhead, 10)) for _ in range(3)]
    loop.run_until_complete(asyncio.sleep(0))
    assert bulkhead._in_use()
    loop.close()
    for task in reversed(tasks):
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        task.get_coro().close()  # type: ignore[union-attr]
    assert (bulkhead.in_flight, bulkhead.queued) == (0, 0)
    assert not bulkhead._in_use()


def test_given_a_place_in_a_loop_that_closes_before_it_runs() -> None:
    """The place is free again, and nobody is woken in a loop that is gone."""
    bulkhead = Bulkhead(1, queue=5)
    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(hold(bulkhead, 10)) for _ in range(2)]
    assert bulkhead.take()
    loop.run_until_complete(asyncio.sleep(0))

    async def release() -> None:
        bulkhead.release()

    loop.run_until_complete(release())
    loop.close()
    for task in tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        task.get_coro().close()  # type: ignore[union-attr]
    assert (bulkhead.in_flight, bulkhead.queued) == (0, 0)


def test_forgotten_together_with_its_loop() -> None:
    """Somebody waits in a new loop before the coroutines of the old one are closed."""
    bulkhead = Bulkhead(1, queue=5)
    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(hold(bulkhead, 10)) for _ in range(2)]
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()

    async def next_life() -> None:
        with pytest.raises(FullError):
            await bulkhead.acquire()

    asyncio.run(next_life())
    for task in reversed(tasks):
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        task.get_coro().close()  # type: ignore[union-attr]
    assert (bulkhead.in_flight, bulkhead.queued) == (0, 0)


def test_given_back_in_another_loop_while_somebody_waits() -> None:
    """It could not wake who waits, so it refuses."""
    bulkhead = Bulkhead(1, name="b")
    loop = asyncio.new_event_loop()
    task = loop.create_task(hold(bulkhead, 0.0))
    assert bulkhead.take()
    loop.run_until_complete(asyncio.sleep(0))

    async def elsewhere() -> None:
        with pytest.raises(SyncMisuse, match="bulkhead 'b'"):
            bulkhead.release()

    asyncio.run(elsewhere())
    assert bulkhead.in_flight == 1
    bulkhead._loop = loop
    loop.call_soon(bulkhead.release)
    loop.run_until_complete(task)
    loop.close()
