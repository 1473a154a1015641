"""Guards around each other under thousands of schedules: what is inside is home when the outside ends.

`test_guards.py` has each guard's own account. Here a bulkhead of one place is the witness:
whatever a guard around it does with a cancel, a time limit or a failure, the place comes
back, once, and the next one gets it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from typing import Any, cast

import pytest
from courses import together

from backstay import timeout
from backstay.errors import DeadlineExceeded, Rejected
from backstay.guard import (
    AdaptiveBulkhead,
    Admission,
    Breaker,
    Budget,
    Bulkhead,
    Deadline,
    Fallback,
    Hedge,
    LastGood,
    Policy,
    Rate,
    Retry,
    Throttle,
    WorkerDied,
    WorkerPool,
    process_workers,
)
from backstay.guard.rules import AimdLimit

FULL = 10_000
QUICK = 200


class Trouble(ConnectionError):
    """The dependency fails."""


LEGAL = (Rejected, DeadlineExceeded, Trouble, WorkerDied)


class Place:
    """A dependency behind one place; each odd call fails, each third takes long."""

    def __init__(self) -> None:
        self.bulkhead = Bulkhead(1, 9)
        self.inside = 0

    async def work(self, number: int) -> int:
        """Do it, in the one place there is."""
        async with self.bulkhead:
            self.inside += 1
            assert self.inside == 1, "two are in the one place"
            try:
                await asyncio.sleep(0.02 if number % 3 == 2 else 0)
                if number % 2:
                    raise Trouble
                await asyncio.sleep(0)
                return number
            finally:
                self.inside -= 1

    async def check(self) -> None:
        """Hold that the place is free, and that whoever comes next gets it."""
        seen = self.bulkhead.statistics()
        assert (self.inside, seen.in_flight, seen.queued) == (0, 0, 0)
        assert await self.work(0) == 0


def right(results: list[object], *others: object) -> bool:
    """Tell whether each who got an answer got his own, or one of `others`."""
    return all(r == n or r in others for n, r in enumerate(results) if isinstance(r, int))


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True, timers="early")
async def test_a_deadline_ends_what_it_bounds_and_leaves_the_account_straight() -> None:
    """Both ways to use it, and one within another; time may run out between any two steps."""
    place = Place()
    outer, inner = Deadline(0.03, name="outer"), Deadline(0.01, name="inner")
    bounded = inner(place.work)
    ends: list[str] = []

    async def call(number: int) -> int:
        try:
            if number % 2:
                return await outer.call(bounded, number)
            return await (bounded(number) if number % 4 else outer.call(place.work, number))
        except DeadlineExceeded as late:
            ends.append(late.scope)
            raise

    results = await together(*(call(number) for number in range(5)), legal=LEGAL)
    assert right(results)
    assert set(ends) <= {"outer", "inner"}
    assert outer.statistics().cut + inner.statistics().cut >= len(ends)
    await place.check()


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_a_fallback_that_waits_itself_is_counted_and_leaves_nothing_behind() -> None:
    """The answer comes from another dependency behind the same place, and may fail as well."""
    place = Place()
    asked = 0

    async def elsewhere(number: int) -> int:
        nonlocal asked
        asked += 1
        return await place.work(number + 1) if number != 3 else await place.work(number)

    fallback: Fallback[int] = Fallback(call=elsewhere, on=Trouble)
    results = await together(
        *(fallback.call(place.work, number) for number in range(4)), legal=LEGAL
    )
    assert all(r in (n, n + 1) for n, r in enumerate(results) if isinstance(r, int))
    seen = fallback.statistics()
    assert 0 <= asked - (seen.answered + seen.failed) <= 0, seen
    await place.check()


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_what_is_kept_as_last_good_was_good() -> None:
    """Only of calls that returned; of two under way at once, the one that ended last."""
    place = Place()
    good: LastGood[int] = LastGood(max_age=60, key=lambda number: number % 2, on=Trouble)
    returned: dict[int, list[int]] = {0: [], 1: []}

    async def work(number: int) -> int:
        result = await place.work(number if number < 4 else 5)
        returned[number % 2].append(result)
        return result

    results = await together(*(good.call(work, number) for number in (0, 1, 2, 4, 3)), legal=LEGAL)
    kept = {key: value for key, (_, value) in good._kept.items()}
    assert all(value in returned[cast("int", key)] for key, value in kept.items())
    answers = [r for r in results if isinstance(r, int)]
    assert all(answer in returned[0] + returned[1] for answer in answers)
    await place.check()


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_a_stack_of_guards_by_hand_is_unwound_from_any_await() -> None:
    """Each as a decorator around the next, as somebody without a policy would write it."""
    place = Place()
    budget = Budget(1.0, at_once=9)
    retry = Retry(2, on=Trouble, first=0.01, budget=budget, seed=1)
    breaker = Breaker(on=Trouble, minimum=3, open_for=0.01, seed=1)
    throttle, rate = Throttle(minimum=100, seed=1), Rate(1000, 2)
    adaptive = AdaptiveBulkhead(AimdLimit(initial=2, least=1, most=2), name="a")
    call = retry(breaker(throttle(rate(adaptive(place.work)))))
    results = await together(*(call(number) for number in range(4)), legal=LEGAL)
    assert right(results)
    assert budget.rule.retrying == 0
    assert breaker.statistics().probing == 0
    assert throttle._rule.in_flight == 0
    assert rate.statistics().waiting == 0
    assert (adaptive.statistics().in_flight, adaptive.statistics().queued) == (0, 0)
    await place.check()


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_a_hedge_around_a_place_and_behind_an_admission_frees_both() -> None:
    """Losers give their place back before the call ends, and the door counts everybody out."""
    place = Place()
    door = Admission()
    budget = Budget(1.0, at_once=9)
    hedge = Hedge(0.005, budget=budget)

    async def call(number: int) -> int:
        return await door.call(hedge.call, place.work, number)

    results = await together(*(call(number) for number in range(4)), legal=LEGAL)
    assert right(results)
    assert door.statistics().in_flight == 0
    assert budget.rule.retrying == 0
    await place.check()


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True, timers="early")
async def test_permits_within_deadlines_give_everything_back() -> None:
    """The policy's own deadline, the caller's, and a wait for rate and place that either may cut."""
    place = Place()
    breaker = Breaker(on=Trouble, minimum=3, open_for=0.01, seed=1)
    policy = Policy(
        "p", deadline=0.03, attempt=0.02, breaker=breaker, throttle=Throttle(seed=1),
        rate=Rate(200, 1), bulkhead=Bulkhead(1, 9), max_callers=4,
    )  # fmt: skip

    async def block(number: int) -> int:
        async with timeout(0.01 if number % 2 else 1.0), policy.permit():
            return await place.work(number)

    results = await together(*(block(number) for number in range(5)), legal=LEGAL)
    assert right(results)
    assert policy.statistics().in_flight == 0
    assert breaker.statistics().probing == 0
    for part in policy.parts:
        seen: Any = part.statistics()
        assert getattr(seen, "in_flight", 0) == getattr(seen, "waiting", 0) == 0
        assert getattr(seen, "queued", 0) == 0
    await place.check()


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_a_pool_of_workers_that_closes_amid_the_calls_it_guards() -> None:
    """Whoever is inside ends, whoever is in line is told, and the place is free."""
    place = Place()
    pool = WorkerPool(workers=2, queue=1, name="w", drain=0.01)

    async def leave() -> None:
        await asyncio.sleep(0)
        await pool.close()

    async with pool:
        results = await together(
            *(pool.call(place.work, number) for number in range(4)), leave(), legal=LEGAL
        )
    assert right(results)
    seen = pool.statistics()
    assert (seen.running, seen.queued, seen.submitting) == (0, 0, 0)
    assert seen.succeeded + seen.failed + seen.cancelled + seen.dropped == seen.submitted
    await place.check()


class Process:
    """One executor of `process_workers`, whose process runs in a timer, or dies there."""

    def __init__(self, world: Processes) -> None:
        self.world = world
        self.job: Future[Any] | None = None
        self._processes = {1: self}
        self.pid, self.exitcode = 1, -9

    def submit(self, fn: Callable[..., Any], *args: Any) -> Future[Any]:
        """Begin."""
        assert self.job is None, "a process has two jobs"
        assert not self.world.joined, "one begins after the end"
        self.job = job = Future()
        job.set_running_or_notify_cancel()
        self.world.running += 1
        asyncio.get_running_loop().call_later(0.001, self.end, fn, args)
        return job

    def end(self, fn: Callable[..., Any], args: Any) -> None:
        """Return, raise, or die."""
        job, self.job = self.job, None
        if job is None:
            return  # killed
        self.world.running -= 1
        try:
            job.set_result(fn(*args))
        except SystemExit:
            job.set_exception(BrokenProcessPool("died"))
        except Exception as error:
            job.set_exception(error)

    def kill(self) -> None:
        """End it at once, as a signal does."""
        job, self.job = self.job, None
        if job is not None:
            self.world.running -= 1
            job.set_exception(BrokenProcessPool("killed"))

    def shutdown(self, *, wait: bool) -> None:
        """Let it go; the end waits only for what has ended."""
        if wait:
            assert self.job is None, "the end waits for a process that is at work"


class Processes:
    """All of them."""

    def __init__(self) -> None:
        self.running = 0
        self.joined = False

    def make(self) -> Any:
        """Start one."""
        return Process(self)


def compute(number: int) -> int:
    """A job: one dies, one raises."""
    if number == 1:
        raise SystemExit
    if number == 3:
        raise Trouble
    return number


@pytest.mark.explore(schedules=FULL, quick=QUICK, cancel=True)
async def test_processes_that_return_die_and_are_killed_free_their_places() -> None:
    """The asyncio side, with processes that are timers; the last callers meet the end."""
    world = Processes()
    pool: Any = process_workers(compute, workers=2, queue=1, name="w", drain=0.0005)
    pool._outside._make = world.make
    async with pool:
        results = await together(*(pool.run(number) for number in range(4)), legal=LEGAL)
        assert right(results)
        for number in (4, 6):
            await pool.submit(number)
    world.joined = True
    seen = pool.statistics()
    assert world.running == 0
    assert (seen.running, seen.overrunning, seen.queued, seen.submitting) == (0, 0, 0, 0)
    ends = seen.succeeded + seen.failed + seen.cancelled + seen.dropped + seen.expired
    assert ends == seen.submitted, seen
    assert seen.died <= 1
