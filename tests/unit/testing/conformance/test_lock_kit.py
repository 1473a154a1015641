"""The lock kit catches each way in which a lock can be wrong."""

from __future__ import annotations

import asyncio
from collections import deque

import pytest

from backstay.testing import ExplorationFailure
from backstay.testing.conformance import LockKit


class Handmade:
    """A right lock, each part of which can be broken."""

    def __init__(self) -> None:
        self.taken = False
        self.waiters: deque[asyncio.Future[None]] = deque()

    async def acquire(self) -> None:
        if not self.taken and not self.waiters:
            self.taken = True
            return
        waiter = asyncio.get_running_loop().create_future()
        self.waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            self.give_up(waiter)
            raise

    def give_up(self, waiter: asyncio.Future[None]) -> None:
        """The lock was handed over already: hand it on."""
        if waiter.done() and not waiter.cancelled():
            self.release()

    def release(self) -> None:
        while self.waiters:
            waiter = self.next()
            if not waiter.done():
                waiter.set_result(None)
                return
        self.taken = False

    def next(self) -> asyncio.Future[None]:
        return self.waiters.popleft()


class TakesItWithIt(Handmade):
    def give_up(self, waiter: asyncio.Future[None]) -> None:
        """The cancelled waiter keeps what it was given."""


class LastComeFirstServed(Handmade):
    def next(self) -> asyncio.Future[None]:
        return self.waiters.pop()


class WakesEverybody(Handmade):
    def release(self) -> None:
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)
        self.waiters.clear()
        self.taken = False


class ForgetsToFree(Handmade):
    def release(self) -> None:
        if self.waiters:
            super().release()


class NoLockAtAll(Handmade):
    async def acquire(self) -> None:
        await asyncio.sleep(0)


class LosesAWakeUp(Handmade):
    def release(self) -> None:
        if self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.done():  # or else: nobody is woken
                waiter.set_result(None)
            return
        self.taken = False


def caught_by(make: type[Handmade], name: str = "") -> set[str]:
    """Return the names of the checks that a lock fails, of those called `name`."""
    failed: set[str] = set()
    for check in LockKit(make).checks():
        if name and str(check) != name:
            continue
        try:
            check.run(schedules=200)
        except ExplorationFailure:
            failed.add(str(check))
    return failed


def test_a_right_lock_passes() -> None:
    """No check is too strict for a plain lock with hand-over."""
    assert not caught_by(Handmade)


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (TakesItWithIt, "a_cancelled_acquire_holds_nothing_at_any_await"),
        (TakesItWithIt, "nobody_waits_while_there_is_a_place"),
        (LastComeFirstServed, "first_come_first_served"),
        (WakesEverybody, "never_more_holders_than_places"),
        (ForgetsToFree, "a_place_given_back_is_free_again"),
        (NoLockAtAll, "never_more_holders_than_places"),
        (LosesAWakeUp, "nobody_waits_while_there_is_a_place"),
    ],
)
def test_each_fault_is_caught_by_the_check_that_is_named_for_it(
    broken: type[Handmade], check: str
) -> None:
    """The name of the failing check says what is wrong."""
    assert caught_by(broken, check)


def test_order_is_checked_only_where_it_is_promised() -> None:
    """A lock that promises no order passes without one."""
    for check in LockKit(LastComeFirstServed, order="any").checks():
        check.run(schedules=100)


def test_a_failing_check_replays() -> None:
    """The string of the report brings the failure back through the check."""
    check = next(c for c in LockKit(TakesItWithIt).checks() if "at_any_await" in str(c))
    with pytest.raises(ExplorationFailure) as caught:
        check.run()
    with pytest.raises(ExplorationFailure):
        check.run(replay=caught.value.replay)
