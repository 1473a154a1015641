"""What every lock must do, whatever it is called: locks, semaphores, one side of a read-write lock.

The four promises: never more holders than places; nobody waits while there is a
place; a cancelled `acquire` holds nothing and takes nobody's turn with it; and,
where it is promised, first come first served.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal

from backstay.testing._wait_all_blocked import wait_all_blocked
from backstay.testing.conformance._check import KIT, Check

__all__ = ["LockKit"]

_USERS = 4


def _acquire(lock: Any) -> Awaitable[object]:
    result: Awaitable[object] = lock.acquire()
    return result


def _release(lock: Any) -> object:
    return lock.release()


@dataclass(frozen=True, slots=True)
class LockKit:
    """Says how to use a lock; `checks` does the rest.

    Attributes:
        make: makes one, free, inside a running loop.
        acquire: takes it, waiting while it is taken.
        release: gives it back.
        places: how many may hold it at once, as made by `make`; 1 for a lock.
        order: "fifo" when it is promised that who asks first gets it first,
            "any" when not.
    """

    make: Callable[[], Any]
    acquire: Callable[[Any], Awaitable[object]] = _acquire
    release: Callable[[Any], object] = _release
    places: int = 1
    order: Literal["fifo", "any"] = "fifo"

    def checks(self) -> tuple[Check, ...]:
        """Return everything that must hold."""
        found = [
            Check("never_more_holders_than_places", self._exclusion),
            Check(
                "never_more_holders_than_places_with_cancellations", self._exclusion, cancel=True
            ),
            Check("nobody_waits_while_there_is_a_place", self._no_lost_wake_up, cancel=True),
            Check(
                "a_cancelled_acquire_holds_nothing_at_any_await",
                self._no_lost_wake_up,
                cancel="systematic",
            ),
            Check("a_place_given_back_is_free_again", self._again_and_again),
            Check("a_holder_that_fails_gives_it_back", self._failing_holder),
        ]
        if self.order == "fifo":
            found.append(Check("first_come_first_served", self._fifo))
            found.append(
                Check("first_come_first_served_with_cancellations", self._fifo, cancel=True)
            )
        return tuple(found)

    async def _exclusion(self) -> None:
        lock = self.make()
        holders = 0

        async def user() -> None:
            nonlocal holders
            await self.acquire(lock)
            try:
                holders += 1
                assert holders <= self.places, f"{holders} hold what has {self.places} places"
                await asyncio.sleep(0)
            finally:
                holders -= 1
                self.release(lock)

        users = [_start(user(), f"user-{n}") for n in range(_USERS)]
        await asyncio.wait(users)
        _raise_errors(users)
        await self._is_free(lock)

    async def _no_lost_wake_up(self) -> None:
        lock = self.make()
        holders = await self._occupy(lock)
        served: list[int] = []

        async def user(number: int) -> None:
            await self.acquire(lock)
            try:
                served.append(number)
            finally:
                self.release(lock)

        users = [_start(user(n), f"user-{n}") for n in range(_USERS)]
        await asyncio.sleep(0)
        for holder in holders:
            holder.let_go.set()
        await asyncio.wait(users)  # stuck for ever, when a wake-up was lost
        _raise_errors(users)
        assert sorted(served) == [n for n, task in enumerate(users) if not task.cancelled()]
        await self._is_free(lock)

    async def _again_and_again(self) -> None:
        lock = self.make()
        for _ in range(3):
            await self._is_free(lock)

    async def _failing_holder(self) -> None:
        lock = self.make()

        async def failing() -> None:
            await self.acquire(lock)
            try:
                await asyncio.sleep(0)
                raise KeyError
            finally:
                self.release(lock)

        users = [_start(failing(), f"user-{n}") for n in range(_USERS)]
        errors = await asyncio.gather(*users, return_exceptions=True)
        assert all(isinstance(error, KeyError) for error in errors)
        await self._is_free(lock)

    async def _fifo(self) -> None:
        lock = self.make()
        holders = await self._occupy(lock)
        asked: list[int] = []
        served: list[int] = []

        async def user(number: int) -> None:
            asked.append(number)  # and asks without another await
            await self.acquire(lock)
            try:
                served.append(number)
                await asyncio.sleep(0)
            finally:
                self.release(lock)

        users = [_start(user(n), f"user-{n}") for n in range(_USERS)]
        await wait_all_blocked()
        holders[0].let_go.set()  # one place only, or several are served at once in any order
        await asyncio.wait(users)
        _raise_errors(users)
        in_order = [number for number in asked if number in served]
        assert served == in_order, f"asked in order {asked}, served in order {served}"
        for holder in holders:
            await holder.end()

    async def _is_free(self, lock: Any) -> None:
        """Take all places at once: nobody holds one, and nobody stands in the way."""
        for holder in await self._occupy(lock):
            await holder.end()

    async def _occupy(self, lock: Any) -> list[_Holder]:
        """Take every place, each by a task of its own: some locks know their owner."""
        holders: list[_Holder] = []
        for place in range(self.places):
            holder = _Holder(self, lock)
            await wait_all_blocked()
            assert holder.holds, f"nobody uses it, and place {place + 1} of {self.places} is taken"
            holders.append(holder)
        return holders


class _Holder:
    """A task that takes a place, and keeps it until it is told to let go."""

    def __init__(self, kit: LockKit, lock: Any) -> None:
        self.let_go = asyncio.Event()
        self.holds = False
        self._kit = kit
        self._task = _start(self._hold(lock), KIT)

    async def _hold(self, lock: Any) -> None:
        await self._kit.acquire(lock)
        self.holds = True
        try:
            await self.let_go.wait()
        finally:
            self._kit.release(lock)

    async def end(self) -> None:
        """Give the place back."""
        self.let_go.set()
        await self._task


def _start(coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    return asyncio.get_running_loop().create_task(coroutine, name=name)


def _raise_errors(users: list[asyncio.Task[None]]) -> None:
    for task in users:
        if not task.cancelled():
            task.result()
