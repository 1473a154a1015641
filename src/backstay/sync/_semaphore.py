"""`Semaphore`: a number of places, taken several at a time.

First come, first served, and strictly: whoever stands first and asks for more
places than are free holds up everybody behind, also those who ask for few.
Otherwise a stream of small requests could keep a large one waiting for ever.
(Go: golang.org/x/sync/semaphore.)
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from types import TracebackType

from backstay.errors import SyncMisuse
from backstay.sync._durations import Durations, Spread
from backstay.sync._home import READY, Home, read_clock
from backstay.sync._wake_queue import Waiter, WaitLine, was_given

__all__ = ["Places", "Semaphore", "SemaphoreStatistics"]


@dataclass(frozen=True, slots=True)
class SemaphoreStatistics:
    """How a semaphore is doing.

    Attributes:
        name: its name.
        size: how many places there are.
        in_use: how many are taken.
        waiting: how many tasks wait.
        wait: how long those waited who had to and got their places.
    """

    name: str
    size: int
    in_use: int
    waiting: int
    wait: Spread


class Semaphore(Home):
    """Bounds how much goes on at once; a piece of work may take several places.

    ::

        uploads = Semaphore(8)

        async with uploads:               # one place
            ...
        async with uploads.places(4):     # four
            ...

    Places belong to nobody: one task may take them and another give them back.

    Cancelled: a task that is cancelled while it waits has taken nothing; places
    that it had just been given go to the next in line.
    """

    __slots__ = ("_free", "_line", "_size", "_waits")

    _kind = "semaphore"

    def __init__(self, size: int, *, name: str = "") -> None:
        """Make a semaphore with all its places free.

        Args:
            size: how many places there are, >= 1.
            name: what it bounds, for people; the line that makes it when omitted.

        Raises:
            ValueError: `size` is less than 1.
        """
        if size < 1:
            raise ValueError(f"a semaphore has at least 1 place, not {size}")
        super().__init__(name)
        self._size = size
        # Invariant: 0 <= _free <= _size, and the first in line wants more than _free.
        self._free = size
        self._line: WaitLine[tuple[Waiter, int]] = WaitLine()  # each with how many it wants
        self._waits = Durations()

    @property
    def size(self) -> int:
        """How many places there are."""
        return self._size

    @property
    def free(self) -> int:
        """How many places are free."""
        return self._free

    def __aenter__(self) -> Awaitable[None]:
        """Take one place for the length of the block."""
        if self._free and not self._line:
            self._free -= 1
            return READY
        return self.acquire()

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Awaitable[None]:
        """Give the place back."""
        self.release()
        return READY

    def places(self, count: int) -> Places:
        """Take `count` places for the length of an `async with` block.

        Raises:
            ValueError: there are not that many.
        """
        self._check_count(count)
        return Places(self, count)

    async def acquire(self, count: int = 1) -> None:
        """Take `count` places, waiting in line until they are free.

        Raises:
            ValueError: there are not that many, so the wait would never end.

        Cancelled: nothing is taken. A deadline of the block around cancels the wait.
        """
        if self.try_acquire(count):
            return
        began = read_clock.read()
        waiter = self._waiter()
        entry = waiter, count
        self._line.append(entry)
        try:
            await waiter
        except BaseException:
            if was_given(waiter):
                self._free += count
            else:
                self._line.discard(entry)
            if self._can_wake("acquire()"):
                self._serve()  # those behind may want less than we did
            raise
        self._waits.record(read_clock.read() - began)

    def try_acquire(self, count: int = 1) -> bool:
        """Take `count` places if they are free and nobody waits; tell whether that worked.

        Raises:
            ValueError: there are not that many.
        """
        self._check_count(count)
        if count > self._free or (self._line and self._line.first() is not None):
            return False
        self._free -= count
        return True

    def release(self, count: int = 1) -> None:
        """Give `count` places back.

        Raises:
            SyncMisuse: more than are taken.
        """
        if not 0 < count <= self._size - self._free:
            raise SyncMisuse(
                f"{self._title()} cannot get {count} places back: {self._size - self._free} of "
                f"{self._size} are taken. Release what was acquired, once"
            )
        can_wake = self._line and self._can_wake("release()")  # first: it may refuse
        self._free += count
        if can_wake:
            self._serve()

    def _serve(self) -> None:
        """Give free places to those in line, up to the first who wants more than there are."""
        while (first := self._line.first()) is not None and first[1] <= self._free:
            self._line.popleft()
            self._free -= first[1]
            self._queue.wake(first[0])

    def _check_count(self, count: int) -> None:
        if not 0 < count <= self._size:
            raise ValueError(
                f"{self._title()} has {self._size} places, so 1 to {self._size} can be taken, not {count}"
            )

    def statistics(self) -> SemaphoreStatistics:
        """Return how it is doing."""
        return SemaphoreStatistics(
            name=self.name,
            size=self._size,
            in_use=self._size - self._free,
            waiting=self._line.waiting,
            wait=self._waits.spread(),
        )

    def _in_words(self) -> str:
        return f"{self.name!r} {self._free} of {self._size} free"

    def __repr__(self) -> str:
        """Show the name, the free places, and how many wait."""
        waiting = self._line.waiting
        line = f" waiting={waiting}" if waiting else ""
        return f"<Semaphore {self.name!r} {self._free} of {self._size} free{line}>"

    def _in_use(self) -> bool:
        return self._line.waiting > 0

    def _reset(self) -> None:
        self._line = WaitLine()


class Places:
    """Several places of a semaphore, as a block; made by `Semaphore.places`."""

    __slots__ = ("_count", "_semaphore")

    def __init__(self, semaphore: Semaphore, count: int) -> None:
        """Remember how many; nothing is taken yet."""
        self._semaphore = semaphore
        self._count = count

    async def __aenter__(self) -> None:
        """Take the places."""
        await self._semaphore.acquire(self._count)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the places back."""
        self._semaphore.release(self._count)
