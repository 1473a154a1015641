"""`RWMutex`: many readers at a time, or one writer.

The rules of Go's `sync.RWMutex` (src/sync/rwmutex.go): a writer that waits
blocks new readers, or a stream of readers would keep it out for ever; when a
writer is done, all readers that wait are released together, before the next
writer, or a stream of writers would keep *them* out. So readers in a batch and
single writers take turns. No upgrade: two readers that both want to become the
writer would wait for each other.
"""

from __future__ import annotations

import sys
from asyncio import Task
from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from backstay.errors import LockMisuse
from backstay.sync._durations import Durations, Spread
from backstay.sync._holder import Holder, describe, held_by, misuse
from backstay.sync._home import READY, Home, Place, place_of, read_clock, task_in
from backstay.sync._wake_queue import Waiter, WaitLine, was_given

__all__ = ["RWMutex", "RWMutexStatistics", "ReadLock", "WriteLock"]


@dataclass(frozen=True, slots=True)
class RWMutexStatistics:
    """How a readers-writer mutex is doing.

    Attributes:
        name: its name.
        readers: how many tasks hold it for reading.
        writer: who holds it for writing, or None.
        waiting_readers: how many wait to read.
        waiting_writers: how many wait to write.
        read_wait: how long those readers waited who had to.
        write_wait: the same for writers.
        write_hold: how long writers held it.
    """

    name: str
    readers: int
    writer: Holder | None
    waiting_readers: int
    waiting_writers: int
    read_wait: Spread
    write_wait: Spread
    write_hold: Spread


_Entry = tuple[Waiter, Task[Any]]


class RWMutex(Home):
    """Lets any number of tasks read, or one task write.

    ::

        routes = RWMutex("routes")

        async with routes.read:
            ...
        async with routes.write:
            ...

    Ready to use as it is, also as a global. Neither side is re-entrant: a task that
    reads and asks again (to read or to write) gets an error, always, in place of a
    deadlock whenever a writer happens to wait in between.

    Cancelled: a task that is cancelled while it waits holds nothing; what it had just
    been given goes on. A cancelled writer lets the readers through that it blocked.

    Attributes:
        read: the reading side, a lock of its own (Go: `RLocker`).
        write: the writing side.

    Cost: reading costs a tenth of aiorwlock's reader lock; see ``benchmarks/sync.py``.
    """

    __slots__ = (
        "_by_hand",
        "_open",
        "_place",
        "_read_waits",
        "_reader_line",
        "_readers",
        "_since",
        "_waiting",
        "_write_holds",
        "_write_waits",
        "_writer",
        "_writer_line",
        "read",
        "write",
    )

    _kind = "rwmutex"

    def __init__(self, name: str = "") -> None:
        """Make a free mutex.

        Args:
            name: what it guards, for people; the line that makes it when omitted.
        """
        super().__init__(name)
        self.read = ReadLock(self)
        self.write = WriteLock(self)
        # Invariants: `_writer` and `_readers` are not both there; readers wait only
        # while a writer holds or waits, which is when `_open` is False.
        self._open = True
        self._readers: dict[Task[Any], float] = {}  # each with the time at which it came
        self._writer: Task[Any] | None = None
        self._since = 0.0  # when the writer took it
        self._place: Place | None = None  # where the writer took it
        self._by_hand: set[Task[Any]] = set()  # those who took it by lock(), not by a block
        self._waiting: set[Task[Any]] = set()  # those for whom somebody stands in one of the lines
        self._reader_line: WaitLine[_Entry] = WaitLine()
        self._writer_line: WaitLine[_Entry] = WaitLine()
        self._read_waits = Durations()
        self._write_waits = Durations()
        self._write_holds = Durations()

    # -- taking it -----------------------------------------------------------

    def _myself(self, verb: str) -> Task[Any]:
        """Return the running task, if it may ask for the mutex."""
        task = task_in(self._move_in())
        if task is None:
            raise LockMisuse(
                f"{self._title()} was asked for outside of a task: a mutex is held by a task, "
                f"so take it in a coroutine that a task runs",
                lock=self.name,
            )
        self._refuse_twice(task, verb)
        return task

    def _refuse_twice(self, task: Task[Any], verb: str) -> None:
        if task not in self._readers and task is not self._writer and task not in self._waiting:
            return
        raise misuse(
            self.name,
            f"task {task.get_name()!r} asks to {verb} at {self._title()}, which it holds already or "
            f"waits for, so it would wait for itself",
            self._holding(task),
            "Take it once, outside, for all that has to be done.",
        )

    def _check_hope(self, task: Task[Any], verb: str) -> None:
        """Raise where waiting would be waiting for ever."""
        self._refuse_twice(task, verb)
        gone = next((holder for holder in self._by_hand if holder.done()), None)
        if gone is not None:
            raise misuse(
                self.name,
                f"task {task.get_name()!r} would wait for {self._title()} for ever",
                self._holding(gone),
                "Use `async with`, or unlock in a finally.",
            )

    def _try_read(self, task: Task[Any]) -> bool:
        if self._open:
            self._readers[task] = read_clock.read()
            return True
        return False

    def _try_write(self, task: Task[Any], place: Place) -> bool:
        if self._open and not self._readers:
            self._open = False
            self._writer = task
            self._since = read_clock.read()
            self._place = place
            return True
        return False

    async def _wait_to_read(self, task: Task[Any]) -> None:
        self._check_hope(task, "read")
        began = read_clock.read()
        entry = self._waiter(), task
        self._reader_line.append(entry)
        self._waiting.add(task)
        try:
            await entry[0]
        except BaseException:
            if was_given(entry[0]):
                self._leave_reading(task)
            else:
                self._waiting.discard(task)
                self._reader_line.discard(entry)
            raise
        self._read_waits.record(read_clock.read() - began)

    async def _wait_to_write(self, task: Task[Any], place: Place) -> None:
        self._check_hope(task, "write")
        began = read_clock.read()
        entry = self._waiter(), task
        self._writer_line.append(entry)
        self._waiting.add(task)
        self._open = False
        try:
            await entry[0]
        except BaseException:
            if was_given(entry[0]):
                self._leave_writing()
            else:
                self._waiting.discard(task)
                self._writer_line.discard(entry)
                self._let_in()
            raise
        self._place = place
        self._write_waits.record(self._since - began)

    # -- giving it back --------------------------------------------------------

    def _leave_reading(self, task: Task[Any] | None) -> None:
        if task is None or self._readers.pop(task, None) is None:
            # A block was left in another task than the one that entered it, as happens to an
            # async generator that is finalised late. It did hold the mutex: one of those counts,
            # best one that can no longer leave by itself.
            anybody = next(iter(self._readers), None)
            gone = next((reader for reader in self._readers if reader.done()), anybody)
            if gone is not None:
                del self._readers[gone]
        if not self._readers and not self._open:
            self._let_in()

    def _leave_writing(self) -> None:
        self._writer = None
        self._let_in(after_writer=True)

    def _let_in(self, *, after_writer: bool = False) -> None:
        """Let in whoever's turn it is, now that somebody left."""
        if self._writer is not None:
            return
        if (self._reader_line or self._writer_line) and not self._can_wake("unlock"):
            return
        first = self._writer_line.first()
        if first is None or after_writer:
            self._let_readers_in()
        self._open = first is None
        if first is not None and not self._readers:
            self._writer_line.popleft()
            waiter, self._writer = first
            self._waiting.discard(self._writer)
            self._since = read_clock.read()
            self._place = None
            self._queue.wake(waiter)

    def _let_readers_in(self) -> None:
        at = read_clock.read()
        while (first := self._reader_line.first()) is not None:
            self._reader_line.popleft()
            waiter, task = first
            self._readers[task] = at
            self._waiting.discard(task)
            self._queue.wake(waiter)

    # -- what people ask -------------------------------------------------------

    def holders(self) -> list[Holder]:
        """Tell who holds it: one writer, or any number of readers."""
        if self._writer is not None:
            return [describe(self._writer, self._since, self._place)]
        return [describe(task, since, None) for task, since in list(self._readers.items())]

    def _holding(self, task: Task[Any]) -> Holder | None:
        if task is self._writer:
            return describe(task, self._since, self._place)
        since = self._readers.get(task)
        return None if since is None else describe(task, since, None)

    def statistics(self) -> RWMutexStatistics:
        """Return how it is doing."""
        return RWMutexStatistics(
            name=self.name,
            readers=len(self._readers),
            writer=next(iter(self.holders()), None) if self._writer is not None else None,
            waiting_readers=self._reader_line.waiting,
            waiting_writers=self._writer_line.waiting,
            read_wait=self._read_waits.spread(),
            write_wait=self._write_waits.spread(),
            write_hold=self._write_holds.spread(),
        )

    def _in_words(self) -> str:
        writer = self._writer
        if writer is not None:
            return held_by(self.name, writer, self._since)
        readers = list(self._readers.items())
        if len(readers) == 1:
            return held_by(self.name, *readers[0])
        return f"{self.name!r} held by {len(readers)} readers"

    def __repr__(self) -> str:
        """Show the name, who holds it, and how many wait."""
        if self._writer is not None:
            state = f"written by {self._writer.get_name()!r}"
        else:
            state = f"readers={len(self._readers)}" if self._readers else "free"
        waiting = self._reader_line.waiting + self._writer_line.waiting
        return f"<RWMutex {self.name!r} {state}{f' waiting={waiting}' if waiting else ''}>"

    # -- for Home ----------------------------------------------------------------

    def _in_use(self) -> bool:
        return bool(self._writer is not None or self._readers or self._writer_line.waiting)

    def _reset(self) -> None:
        self._open = True
        self._readers.clear()
        self._by_hand.clear()
        self._waiting.clear()
        self._writer = None
        self._reader_line = WaitLine()
        self._writer_line = WaitLine()


class ReadLock:
    """The reading side of an `RWMutex`; any number of tasks hold it at a time."""

    __slots__ = ("_rw",)

    def __init__(self, rw: RWMutex) -> None:
        """Belong to `rw`; use ``rw.read``."""
        self._rw = rw

    def __aenter__(self) -> Awaitable[None]:
        """Read for the length of the block.

        Raises:
            LockMisuse: the task holds the mutex already, to read or to write.
        """
        rw = self._rw
        if rw._open:
            task = task_in(rw._loop)
            if task is not None and task not in rw._readers:
                rw._readers[task] = read_clock.read()
                return READY
        task = rw._myself("read")
        return READY if rw._try_read(task) else rw._wait_to_read(task)

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Awaitable[None]:
        """Stop reading."""
        rw = self._rw
        try:
            task = task_in(rw._loop)
        except RuntimeError:  # a coroutine is closed after its loop has ended
            task = None
        # The common case without another call: a reader among readers.
        if task is None or not rw._open or rw._readers.pop(task, None) is None:
            rw._leave_reading(task)
        return READY

    def lock(self) -> Coroutine[Any, Any, None]:
        """Begin to read, waiting while a writer holds the mutex or waits for it.

        Raises:
            LockMisuse: the task holds the mutex already, to read or to write.

        Cancelled: not taken.
        """
        return self._lock(self._rw._myself("read"))

    async def _lock(self, task: Task[Any]) -> None:
        self._rw._refuse_twice(task, "read")  # once more: time has passed since the call
        if not self._rw._try_read(task):
            await self._rw._wait_to_read(task)
        self._rw._by_hand.add(task)

    def try_lock(self) -> bool:
        """Begin to read if that is possible at once, and tell whether it was."""
        rw = self._rw
        task = rw._myself("read")
        if not rw._try_read(task):
            return False
        rw._by_hand.add(task)
        return True

    def unlock(self) -> None:
        """Stop reading, after `lock` or `try_lock`.

        Raises:
            LockMisuse: the calling task does not hold it by `lock` or `try_lock`.
        """
        rw = self._rw
        task = task_in(rw._loop)
        if task is None or task not in rw._readers or task not in rw._by_hand:
            raise _stranger(rw, task, "stop reading")
        rw._by_hand.discard(task)
        rw._leave_reading(task)


class WriteLock:
    """The writing side of an `RWMutex`; one task at a time holds it, and nobody reads meanwhile."""

    __slots__ = ("_rw",)

    def __init__(self, rw: RWMutex) -> None:
        """Belong to `rw`; use ``rw.write``."""
        self._rw = rw

    def __aenter__(self) -> Awaitable[None]:
        """Write for the length of the block.

        Raises:
            LockMisuse: the task holds the mutex already, to read or to write.
        """
        rw = self._rw
        task = rw._myself("write")
        place = place_of(sys._getframe(1))
        return READY if rw._try_write(task, place) else rw._wait_to_write(task, place)

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Awaitable[None]:
        """Stop writing."""
        rw = self._rw
        rw._write_holds.record(read_clock.read() - rw._since)
        rw._leave_writing()
        return READY

    def lock(self) -> Coroutine[Any, Any, None]:
        """Begin to write, waiting until nobody else holds the mutex.

        Raises:
            LockMisuse: the task holds the mutex already, to read or to write.

        Cancelled: not taken.
        """
        return self._lock(self._rw._myself("write"), place_of(sys._getframe(1)))

    async def _lock(self, task: Task[Any], place: Place) -> None:
        self._rw._refuse_twice(task, "write")  # once more: time has passed since the call
        if not self._rw._try_write(task, place):
            await self._rw._wait_to_write(task, place)
        self._rw._by_hand.add(task)

    def try_lock(self) -> bool:
        """Begin to write if nobody holds the mutex, and tell whether that was so."""
        rw = self._rw
        task = rw._myself("write")
        if not rw._try_write(task, place_of(sys._getframe(1))):
            return False
        rw._by_hand.add(task)
        return True

    def unlock(self) -> None:
        """Stop writing, after `lock` or `try_lock`.

        Raises:
            LockMisuse: the calling task does not hold it by `lock` or `try_lock`.
        """
        rw = self._rw
        task = task_in(rw._loop)
        if task is None or task is not rw._writer or task not in rw._by_hand:
            raise _stranger(rw, task, "stop writing")
        rw._by_hand.discard(task)
        rw._write_holds.record(read_clock.read() - rw._since)
        rw._leave_writing()


def _stranger(rw: RWMutex, task: Task[Any] | None, verb: str) -> LockMisuse:
    """Build the error for an unlock by somebody who had not locked."""
    who = "code outside of a task" if task is None else f"task {task.get_name()!r}"
    holders = rw.holders()
    return misuse(
        rw.name,
        f"{who} cannot {verb} at {rw._title()}, which it has not taken by lock()",
        holders[0] if holders else None,
        "Only the task that called lock() calls unlock(); a block unlocks by itself.",
    )
