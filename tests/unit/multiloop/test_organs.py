"""The organs of the scheduler one by one: door, job, resting set, mailbox, and a loop's queue."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any, cast

import pytest

from backstay.errors import ScopeClosed
from backstay.multiloop._door import Door
from backstay.multiloop._job import Job, Outcome
from backstay.multiloop._loop_thread import LoopThread
from backstay.multiloop._mailbox import Mailbox
from backstay.multiloop._parking import Resting
from backstay.multiloop._scheduler import Scheduler


async def nothing() -> None:
    """Be a job."""


def job(name: str = "job") -> Job:
    loop = asyncio.get_event_loop_policy().new_event_loop()
    loop.close()
    return Job(nothing, (1,), {}, name=name, context=contextvars.Context(), home=Mailbox(loop))


class Letters:
    """Takes what is posted, and delivers nothing."""

    def __init__(self) -> None:
        self.posted: list[Any] = []

    def post(self, call: Any, *args: Any) -> bool:
        self.posted.append((call, *args))
        return True


def loop_thread(market: Scheduler) -> LoopThread:
    """Return a loop's queue without its thread."""
    made = market.make()
    made.mailbox = cast("Mailbox", Letters())
    return made


def test_who_is_inside_may_bring_others_in_until_all_are_out() -> None:
    """Strangers are turned away from the moment it drains, everybody once it is closed."""
    door, closed = Door("pool"), []
    first, second, third = job(), job(), job()
    with pytest.raises(ScopeClosed, match="is new"):
        door.enter(first, from_inside=True)
    door.open()
    door.enter(first, from_inside=False)
    door.drain(lambda: closed.append(1))
    with pytest.raises(ScopeClosed, match="is draining"):
        door.enter(third, from_inside=False)
    door.enter(second, from_inside=True)
    door.leave(first)
    assert (len(door), closed) == (1, [])
    door.leave(second)
    door.leave(second)
    assert (door.state, closed) == ("closed", [1])
    with pytest.raises(ScopeClosed, match="is closed"):
        door.enter(third, from_inside=True)
    assert door.inside() == []


def test_an_empty_house_is_closed_at_once() -> None:
    """Nobody has to leave for it."""
    door, closed = Door("pool"), []
    door.open()
    door.drain(lambda: closed.append(1))
    assert closed == [1]


def test_a_job_is_taken_once() -> None:
    """By a loop or by its caller; whoever comes second comes too late."""
    started, dropped = job(), job()
    assert started.claim(None, started.home)
    assert not started.claim(None, started.home)
    assert not started.drop()
    assert started.args == (1,)
    assert dropped.drop()
    assert not dropped.drop()
    assert not dropped.claim(None, dropped.home)
    assert (dropped.fn, dropped.args) == (None, ()), "it holds nothing while it lies in a queue"


def test_the_first_outcome_counts() -> None:
    """A late second one changes nothing."""
    one = job()
    one.deliver(Outcome(value=1))
    one.deliver(Outcome(value=2))
    assert one.outcome == Outcome(value=1)


def test_the_last_to_rest_is_woken_first_and_once() -> None:
    """Its caches are warm; and a waker takes it out for good."""
    resting: Resting[str] = Resting()
    resting.add("a")
    resting.add("b")
    assert len(resting) == 2
    assert resting.wake_one() == "b"
    assert not resting.remove("b"), "somebody wakes it already"
    assert resting.remove("a")
    assert resting.wake_one() is None


@pytest.mark.real_loop
async def test_letters_arrive_in_order_with_one_knock() -> None:
    """A burst of calls into a loop costs one wake-up, and one that fails loses no other."""
    loop, got, failures = asyncio.get_running_loop(), [], []
    loop.set_exception_handler(lambda _, what: failures.append(what["exception"]))
    knocks = 0
    original = loop.call_soon_threadsafe

    def counted(*args: Any, **options: Any) -> Any:
        nonlocal knocks
        knocks += 1
        return original(*args, **options)

    loop.call_soon_threadsafe = counted  # type: ignore[method-assign]
    box = Mailbox(loop)
    box.post(got.append, 1)
    box.post(divmod, 1, 0)
    box.post(got.append, 2)
    await asyncio.sleep(0)
    assert (got, knocks) == ([1, 2], 1)
    assert isinstance(failures[0], ZeroDivisionError)
    box.post(got.append, 3)
    await asyncio.sleep(0)
    assert (got, knocks) == ([1, 2, 3], 2)


def test_a_closed_loop_gets_no_letters() -> None:
    """The sender is told, each time."""
    loop = asyncio.new_event_loop()
    loop.close()
    box = Mailbox(loop)
    assert not box.post(print)
    assert not box.post(print)


def test_who_goes_to_rest_looks_once_more() -> None:
    """A job that came between the last look and the rest is not slept over."""
    market = Scheduler("pool", None, 0.02)
    me, other = loop_thread(market), loop_thread(market)
    market._procs = (me, other)
    assert market.rest(me), "there is nothing to do"
    assert market._resting.remove(me)
    market._global.push(job())
    assert not market.rest(me), "there is a job for everybody"
    assert len(market._resting) == 0
    market._global.drain()
    other._queue.push(job())
    assert not market.rest(me), "there is a job to steal"


def test_who_was_woken_meanwhile_stays_down_for_the_waker() -> None:
    """The waker has sent a pump; a second one would be one too many."""
    market = Scheduler("pool", None, 0.02)
    me = loop_thread(market)
    market._procs = (me,)
    market._global.push(job())

    class Rushed(Resting[LoopThread]):
        def add(self, who: LoopThread) -> None:
            super().add(who)
            market.wake_another()

    market._resting = Rushed()
    assert market.rest(me)
    assert len(cast("Letters", me.mailbox).posted) == 1


def test_a_retiring_loop_gives_away_what_has_not_started() -> None:
    """And takes nothing more; whoever rests is woken for it."""
    market = Scheduler("pool", None, 0.02)
    stays, leaves = loop_thread(market), loop_thread(market)
    market._procs = (stays, leaves)
    market.rest(stays)
    jobs = [job(), job()]
    for one in jobs:
        assert leaves.push(one) == []
    market.retire_one()
    assert market.procs == (stays,)
    assert market.waiting == 2
    assert leaves.push(job("late")) != []
    assert cast("Letters", stays.mailbox).posted, "woken"
    assert market.share(stays) == jobs


def test_a_job_for_a_scheduler_that_is_closed_ends_as_cancelled() -> None:
    """Its caller must not wait for ever."""
    market = Scheduler("pool", None, 0.02)
    market._global.push(job("left over"))
    assert [one.name for one in market.close()] == ["left over"]
    home = Letters()
    late = job("late")
    late.home = cast("Mailbox", home)
    market.give([late])
    assert home.posted == [(late.deliver, Outcome(cancelled=True))]


def test_a_full_queue_leaves_its_older_half_to_all() -> None:
    """The loop that made them is not the only one to work on them."""
    market = Scheduler("pool", None, 0.02)
    me = loop_thread(market)
    over: list[Job] = []
    for _ in range(257):
        over += me.push(job())
    assert (len(over), me.queued) == (129, 128)
