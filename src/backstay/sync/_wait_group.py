"""`WaitGroup`: wait until a number of things are done.

Go's `sync.WaitGroup`, with its rules made errors that always strike: the count
never falls below zero, and a new round begins only when everybody who waited
for the last one has gone on. In Go the second is found by luck; here there is
one thread, so it is found each time.

A `Scope` waits for its own tasks and is the better tool for that. A wait group
counts things that are no tasks (messages in flight, requests to drain), or
tasks of several scopes.
"""

from __future__ import annotations

from asyncio import Task
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from backstay.errors import SyncMisuse
from backstay.sync._home import Home
from backstay.sync._wake_queue import Waiter, WaitLine, was_given
from backstay.tasks import go

__all__ = ["WaitGroup", "WaitGroupStatistics"]

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WaitGroupStatistics:
    """How a wait group is doing.

    Attributes:
        name: its name.
        count: how many things are not done yet.
        waiting: how many tasks wait for that.
    """

    name: str
    count: int
    waiting: int


class WaitGroup(Home):
    """Counts things that are not done yet, and lets tasks wait until none is left.

    ::

        pending = WaitGroup("uploads")
        for file in files:
            pending.go(upload, file)
        await pending.wait()

    Cancelled: a cancelled wait leaves nothing behind.
    """

    __slots__ = ("_count", "_leaving", "_line")

    _kind = "wait group"

    def __init__(self, name: str = "") -> None:
        """Make a group with nothing in it.

        Args:
            name: what is waited for, for people; the line that makes it when omitted.
        """
        super().__init__(name)
        self._count = 0  # invariant: >= 0, and > 0 while anybody waits in line
        self._leaving = 0  # how many were woken and have not gone on yet
        self._line: WaitLine[Waiter] = WaitLine()

    @property
    def count(self) -> int:
        """How many things are not done yet."""
        return self._count

    def add(self, count: int = 1) -> None:
        """Add `count` things to wait for; a negative number takes some away.

        Raises:
            SyncMisuse: the count would fall below zero, or a new round would begin
                while tasks that waited for the last one have not gone on yet.
        """
        if count > 0 and self._leaving and not self._count:
            raise SyncMisuse(
                f"{self._title()} begins a new round by add({count}) before {self._leaving} tasks have "
                f"returned from wait(): add everything before the first wait, or use a group per round"
            )
        if self._count + count < 0:
            raise SyncMisuse(
                f"{self._title()} counts {self._count} and cannot take {-count} away: "
                f"look for a done() too many, or an add() that comes too late"
            )
        can_wake = self._line and self._count + count == 0 and self._can_wake("done()")
        self._count += count
        if can_wake:
            self._leaving += self._queue.wake_all(self._line)

    def done(self) -> None:
        """Say that one thing is done.

        Raises:
            SyncMisuse: nothing is left to be done.
        """
        self.add(-1)

    def go(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> Task[T]:
        """Start `fn(*args)` as a task of the current scope, and count it until it has ended.

        However it ends: done, failed, cancelled, also before it began. A failure
        is the scope's business.

        Raises:
            NoOwner, ScopeClosed, FullError: as `backstay.go`; nothing is counted then.
            SyncMisuse: as `add`.
        """
        self.add()
        try:
            task = go(fn, *args, **kwargs)
        except BaseException:
            self.done()
            raise
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: Task[T]) -> None:
        self.done()

    async def wait(self) -> None:
        """Return when the count is zero; at once when it is."""
        if not self._count:
            return
        waiter = self._waiter()
        self._line.append(waiter)
        try:
            await waiter
        except BaseException:
            if was_given(waiter):
                self._leaving -= 1
            else:
                self._line.discard(waiter)
            raise
        self._leaving -= 1

    def statistics(self) -> WaitGroupStatistics:
        """Return how it is doing."""
        return WaitGroupStatistics(self.name, self._count, self._line.waiting)

    def _in_words(self) -> str:
        return f"{self.name!r} {self._count} left"

    def __repr__(self) -> str:
        """Show the name, the count, and how many wait."""
        waiting = self._line.waiting
        return f"<WaitGroup {self.name!r} {self._count} left{f' waiting={waiting}' if waiting else ''}>"

    def _in_use(self) -> bool:
        return self._line.waiting > 0

    def _reset(self) -> None:
        self._leaving = 0
        self._line = WaitLine()
