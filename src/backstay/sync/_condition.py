"""`Cond`: wait, holding a mutex, until another task says that something changed.

`wait` gives the mutex back and takes it again before it returns, so a condition
has to be asked in a loop: between the notice and the mutex somebody else may
have changed things once more. `wait_for(predicate)` is that loop.

A notice is a gift like any other: a task that is cancelled after it was
notified and before it ran gives the notice to the next in line.
"""

from __future__ import annotations

from asyncio import Task
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

from backstay.sync._home import Home, task_in
from backstay.sync._mutex import Mutex
from backstay.sync._wake_queue import Waiter, WaitLine, was_given

__all__ = ["Cond", "CondStatistics"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CondStatistics:
    """How a condition is doing.

    Attributes:
        name: its name.
        waiting: how many tasks wait to be notified.
        notified: how many have been.
    """

    name: str
    waiting: int
    notified: int


class Cond(Home):
    """Lets tasks wait until something that a mutex guards has changed.

    ::

        async with cond:
            await cond.wait_for(lambda: items)
            item = items.pop()

        async with cond:
            items.append(item)
            cond.notify()

    As in Go, notifying does not need the mutex; holding it is what makes the
    change and the notice one step.

    Attributes:
        mutex: the mutex given or made; several conditions may share one.
    """

    __slots__ = ("_line", "_notified", "mutex")

    _kind = "condition"

    def __init__(self, mutex: Mutex | None = None, *, name: str = "") -> None:
        """Make a condition.

        Args:
            mutex: what guards the state; a new one when omitted.
            name: for people; the line that makes it when omitted.
        """
        super().__init__(name)
        self.mutex = Mutex(name or self.name) if mutex is None else mutex
        self._line: WaitLine[Waiter] = WaitLine()
        self._notified = 0

    def __aenter__(self) -> Awaitable[None]:
        """Take the mutex."""
        return self.mutex.__aenter__()

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Awaitable[None]:
        """Give the mutex back."""
        return self.mutex.__aexit__(kind, error, trace)

    def wait(self) -> Coroutine[Any, Any, None]:
        """Give the mutex back, wait for a notice, and take the mutex again.

        Raises:
            LockMisuse: the calling task does not hold the mutex.

        Cancelled: the mutex is held again when `CancelledError` leaves, as the
        block around expects; a notice that had come goes to the next in line.
        """
        return self._wait(task_in(self._move_in()))

    def wait_for(self, predicate: Callable[[], T]) -> Coroutine[Any, Any, T]:
        """Wait until `predicate()` is true and return what it returned.

        Raises:
            LockMisuse: the calling task does not hold the mutex.

        Cancelled: as `wait`.
        """
        return self._wait_for(predicate, task_in(self._move_in()))

    async def _wait(self, task: Task[Any] | None) -> None:
        waiter = self._waiter()
        by_hand = self.mutex._step_out(task, f"wait() of {self._title()}")
        assert task is not None  # it holds the mutex
        self._line.append(waiter)
        try:
            await waiter
        except BaseException as error:
            if was_given(waiter):
                self._pass_on()
            else:
                self._line.discard(waiter)
            if isinstance(error, GeneratorExit):
                self.mutex._step_in_closed(task, by_hand)
            else:
                await self.mutex._step_in(task, by_hand)
            raise
        cancelled = await self.mutex._step_in(task, by_hand)
        if cancelled is not None:
            self._pass_on()
            raise cancelled

    async def _wait_for(self, predicate: Callable[[], T], task: Task[Any] | None) -> T:
        result = predicate()
        while not result:
            await self._wait(task)
            result = predicate()
        return result

    def _pass_on(self) -> None:
        """Give a notice that nobody has acted on to the next in line."""
        self._notified -= 1
        self.notify()

    def notify(self, count: int = 1) -> None:
        """Wake up to `count` of those who wait, in order of arrival."""
        if self._line and self._can_wake("notify()"):
            while count > 0 and self._queue.wake_one(self._line):
                self._notified += 1
                count -= 1

    def notify_all(self) -> None:
        """Wake everybody who waits."""
        self.notify(len(self._line))

    def statistics(self) -> CondStatistics:
        """Return how it is doing."""
        return CondStatistics(self.name, self._line.waiting, self._notified)

    def __repr__(self) -> str:
        """Show the name and how many wait."""
        return f"<Cond {self.name!r} waiting={self._line.waiting}>"

    def _in_use(self) -> bool:
        return self._line.waiting > 0

    def _reset(self) -> None:
        self._line = WaitLine()
