"""`Mutex`: one task at a time, fast while nobody waits and fair when somebody does.

The two modes are those of Go's `sync.Mutex` (src/sync/mutex.go), rethought for one thread:

* *Normal mode.* Unlocking leaves the mutex free. Whoever comes by first takes
  it, and that is often the task that has just unlocked it (*barging*), which
  saves two changes of task. In Go the first in line is woken to compete; here it
  would mostly wake up too late and go back to sleep, so instead an *offer* is
  put where the woken task would have run: if the mutex is still free then, the
  first in line gets it, and otherwise nobody was woken for nothing.
* *Starvation.* When the first in line has waited for more than a millisecond,
  unlocking hands the mutex over at once: nobody can take it in between. In Go
  the waiter notices; here whoever unlocks looks at the clock, because a task
  that locks and unlocks without ever waiting would keep the waiter, and the
  whole loop, from running at all. Handed over like this it stops at the next lock.

What is recorded follows the same idea. A mutex that nobody has to wait for
notes who holds it and since when, and that is all: 0.2 microseconds. From the
first wait on it is *watched*: each holder's line and each duration is counted,
until a thousand holds in a row have delayed nobody.
"""

from __future__ import annotations

import sys
from asyncio import CancelledError, Task
from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, cast

from backstay.errors import LockMisuse
from backstay.sync._durations import Durations, Spread
from backstay.sync._holder import Holder, describe, held_by, misuse
from backstay.sync._home import READY, Home, Place, place_of, read_clock, task_in
from backstay.sync._wake_queue import Waiter, WaitLine, wake_queue, was_given

__all__ = ["STARVING_S", "Mutex", "MutexStatistics"]

STARVING_S: Final = 0.001
"""Seconds of waiting after which the first in line is handed the mutex; Go's value."""

_CALM_HOLDS = 1_000  # holds in a row that delayed nobody, after which a mutex is not watched


class _Free:
    """What stands in `_owner` while a watched mutex is free, so that the fast path passes it by."""

    __slots__ = ()


_FREE: Final = cast("Task[Any]", _Free())


@dataclass(frozen=True, slots=True)
class MutexStatistics:
    """How a mutex is doing.

    Attributes:
        name: its name.
        holder: who holds it, or None.
        waiting: how many tasks wait for it.
        handed_over: how often it was given to a task that had waited.
        wait: how long those waited who had to; a lock taken at once is not counted.
        hold: how long it was held, counted while the mutex is watched.
    """

    name: str
    holder: Holder | None
    waiting: int
    handed_over: int
    wait: Spread
    hold: Spread


_Entry = tuple[Waiter, Task[Any], float]
"""One who waits: where, for which task, and since when (seconds on the clock of `now()`)."""


class _Record:
    """What is known about a mutex that somebody had to wait for."""

    __slots__ = ("calm", "disowned", "handed", "heir", "holds", "line", "offered", "place", "waits")

    def __init__(self) -> None:
        self.line: WaitLine[_Entry] = WaitLine()
        # Whether an offer is under way. Invariant: while the mutex is free and anybody is in line, it is.
        self.offered = False
        self.heir: _Entry | None = None  # was handed the mutex, and has not run yet
        self.place: Place | None = None  # where the present holder took it
        self.disowned = False  # the next exit of a block is of one that does not hold the mutex
        self.handed = 0
        self.calm = 0  # holds since anybody had to wait
        self.waits = Durations()
        self.holds = Durations()


class Mutex(Home):
    """Lets one task at a time into a section; others wait in order of arrival.

    ::

        cache_lock = Mutex("cache")

        async with cache_lock:
            ...

    Ready to use as it is, also as a global. Not re-entrant: a task that takes it
    twice gets an error and not a deadlock. Only the task that took it unlocks it.

    Cancelled: a task that is cancelled while it waits does not hold the mutex; if
    it had just been woken or handed the mutex, the next in line gets it.

    Cost: 0.6 to 0.8 times an `asyncio.Lock`; see ``benchmarks/sync.py``.
    """

    __slots__ = ("_by_hand", "_owner", "_record", "_since", "_watch")

    _kind = "mutex"

    def __init__(self, name: str = "") -> None:
        """Make a free mutex.

        Args:
            name: what it guards, for people; the line that makes it when omitted.
        """
        super().__init__(name)
        self._owner: Task[Any] | None = None  # holder; None or _FREE when there is none
        self._since = 0.0  # when the holder took it; meaningless while free
        # Whether it was taken by lock(), and not by a block. Invariant: False while free or handed over.
        self._by_hand = False
        self._record: _Record | None = None  # made at the first wait, and kept
        self._watch: _Record | None = None  # the same while the mutex is watched

    # -- taking it ---------------------------------------------------------

    def __aenter__(self) -> Awaitable[None]:
        """Take the mutex for the length of the block.

        Raises:
            LockMisuse: the task holds it already.
        """
        if self._owner is None:
            owner = self._owner = task_in(self._loop)
            if owner is not None:
                self._since = read_clock.read()
                return READY
        return self._enter()

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Awaitable[None]:
        """Give it back. The block is the holder, so nobody is asked who they are."""
        if self._watch is None:
            self._owner = None
        else:
            self._release(self._watch)
        return READY

    def lock(self) -> Coroutine[Any, Any, None]:
        """Take the mutex, waiting while another task holds it; `unlock` gives it back.

        `async with` is the better way wherever it fits. The holder is the task
        that *calls* this, so ``await asyncio.wait_for(mutex.lock(), 1.0)`` does what it
        says also on Python 3.11, where `wait_for` runs it in a task of its own.

        Raises:
            LockMisuse: the task holds it already, or its holder ended without unlocking.

        Cancelled: not taken.
        """
        return self._lock(self._myself(), place_of(sys._getframe(1)))

    def try_lock(self) -> bool:
        """Take the mutex if it is free, and tell whether that worked. Never waits."""
        task = self._myself()
        if self._take(task, sys._getframe(1)):
            self._by_hand = True
            return True
        return False

    async def _lock(self, task: Task[Any], place: Place) -> None:
        if not self._take(task, None):
            await self._wait(task, place)
        elif self._watch is not None:
            self._watch.place = place
        self._by_hand = True

    def _enter(self) -> Awaitable[None]:
        frame = sys._getframe(2)
        if self._owner is _FREE and self._watch is not None:
            task = task_in(self._loop)
            if task is not None:
                self._owner = task
                self._since = read_clock.read()
                self._watch.place = frame.f_code, frame.f_lasti
                return READY
        task = self._myself()
        if self._take(task, frame):
            return READY
        return self._wait(task, place_of(frame))

    def _myself(self) -> Task[Any]:
        """Return the running task; the loop is looked at first, since another one changes all."""
        if self._loop is None and self.locked():
            self._loop = cast("Task[Any]", self._owner).get_loop()  # the fast path had not noted it
            self._queue = wake_queue(self._loop)
        task = task_in(self._move_in())
        if task is None:
            raise LockMisuse(
                f"{self._title()} was asked for outside of a task: a mutex is held by a task, "
                f"so take it in a coroutine that a task runs",
                lock=self.name,
            )
        return task

    def _take(self, task: Task[Any], frame: Any) -> bool:
        if self._owner is not None and self._owner is not _FREE:
            return False
        self._owner = task
        self._since = read_clock.read()
        if self._watch is not None and frame is not None:
            self._watch.place = place_of(frame)
        return True

    async def _wait(self, task: Task[Any], place: Place | None) -> None:
        """Wait in line until the mutex is ours."""
        self._check_hope(task)
        record = self._watched()
        began = read_clock.read()
        entry: _Entry = self._queue.waiter(), task, began
        record.line.append(entry)
        try:
            await entry[0]
        except BaseException:
            if not was_given(entry[0]):
                record.line.discard(entry)
            elif record.heir is entry:
                record.heir = None
                self._pass_on(record, read_clock.read())
            raise
        record.heir = None
        record.place = place
        record.waits.record(self._since - began)

    def _check_hope(self, task: Task[Any]) -> None:
        """Raise where waiting would be waiting for ever."""
        owner = self._owner
        if owner is task:
            raise misuse(
                self.name,
                f"task {task.get_name()!r} takes {self._title()} a second time and would wait for itself",
                self.holder(),
                "Take it once, outside, and call code that expects it to be held.",
            )
        if self._by_hand and owner is not None and owner.done():
            raise misuse(
                self.name,
                f"task {task.get_name()!r} would wait for {self._title()} for ever",
                self.holder(),
                "Use `async with`, or unlock in a finally.",
            )

    def _watched(self) -> _Record:
        if self._record is None:
            self._record = _Record()
        if self._watch is None:
            self._watch = self._record
            self._watch.place = None  # the present holder was not asked where
        self._watch.calm = 0
        return self._watch

    # -- giving it back ------------------------------------------------------

    def unlock(self) -> None:
        """Give back what `lock` or `try_lock` took.

        Raises:
            LockMisuse: the caller is not the task that took it, or a block holds it.
        """
        owner = self._owner
        if owner is None or owner is _FREE:
            raise misuse(
                self.name,
                f"{self._title()} is unlocked and cannot be unlocked again",
                None,
                "Look for an unlock too many.",
            )
        if task_in(owner.get_loop()) is not owner or (
            self._watch is not None and self._watch.heir is not None
        ):
            raise misuse(
                self.name,
                f"{self._title()} cannot be unlocked by anybody but its holder",
                self.holder(),
                "To let one task take and another give back, use Semaphore(1).",
            )
        if not self._by_hand:
            raise misuse(
                self.name,
                f"{self._title()} cannot be unlocked inside the `async with` that holds it",
                self.holder(),
                "The end of the block unlocks it.",
            )
        self._by_hand = False
        if self._watch is None:
            self._owner = None
        else:
            self._release(self._watch)

    # -- for Cond --------------------------------------------------------------

    def _step_out(self, task: Task[Any] | None, verb: str) -> bool:
        """Give the mutex back for a while; returns whether it had been taken by hand."""
        if task is None or self._owner is not task:
            raise misuse(
                self.name,
                f"{verb} needs {self._title()} to be held by the calling task",
                self.holder(),
                "Call it inside the `async with` of the condition.",
            )
        by_hand, self._by_hand = self._by_hand, False
        if self._watch is None:
            self._owner = None
        else:
            self._release(self._watch)
        return by_hand

    async def _step_in(self, task: Task[Any], by_hand: bool) -> CancelledError | None:
        """Take the mutex again, whatever happens; return a cancellation that struck meanwhile."""
        self._move_in()
        cancelled = None
        while not self._take(task, None):
            try:
                await self._wait(task, None)
                break
            except CancelledError as error:
                cancelled = error
            except GeneratorExit:
                self._step_in_closed(task, by_hand)
                raise
        self._by_hand = by_hand
        return cancelled

    def _step_in_closed(self, task: Task[Any], by_hand: bool) -> None:
        """Stand in for `_step_in` in a coroutine that is being closed and so cannot wait."""
        if self._take(task, None):
            self._by_hand = by_hand
        elif not by_hand:
            # Somebody else holds it. The block around unwinds now, before anything else can run,
            # and the exit that comes next is its.
            self._watched().disowned = True

    # -- passing it on ---------------------------------------------------------

    def _release(self, record: _Record) -> None:
        if record.disowned:
            record.disowned = False
            return
        at = read_clock.read()
        record.holds.record(at - self._since)
        self._pass_on(record, at)

    def _pass_on(self, record: _Record, at: float) -> None:
        """Free the mutex, or hand it over; see the theory above."""
        line = record.line
        if not line or (line[0][0].done() and line.first() is None):
            record.calm += 1
            self._owner = _FREE
            if record.calm >= _CALM_HOLDS:
                self._owner = self._watch = None
            return
        if self._loop is None or self._loop.is_closed():
            self._reset()  # a coroutine is closed after its loop has ended
        elif at - line[0][2] > STARVING_S:
            self._hand_over(record, at)
        else:
            self._owner = _FREE
            if not record.offered:
                record.offered = True
                self._queue.soon(self._offer, record)

    def _offer(self, record: _Record) -> None:
        """Hand the mutex to the first in line, unless somebody has taken it meanwhile."""
        record.offered = False
        if self._owner is _FREE and record.line.first() is not None:
            self._hand_over(record, read_clock.read())

    def _hand_over(self, record: _Record, at: float) -> None:
        record.heir = record.line.popleft()
        record.place = None
        record.handed += 1
        waiter, self._owner, _ = record.heir
        self._since = at
        self._queue.wake(waiter)

    # -- what people ask -----------------------------------------------------

    def locked(self) -> bool:
        """Whether somebody holds it."""
        return self._owner is not None and self._owner is not _FREE

    def holder(self) -> Holder | None:
        """Tell who holds it, since when and over what; None while it is free.

        May be called from any thread.
        """
        owner = self._owner
        if owner is None or owner is _FREE:
            return None
        place = None if self._watch is None else self._watch.place
        return describe(owner, self._since, place)

    def statistics(self) -> MutexStatistics:
        """Return how it is doing."""
        record = self._record or _NO_RECORD
        return MutexStatistics(
            name=self.name,
            holder=self.holder(),
            waiting=record.line.waiting + (record.heir is not None),
            handed_over=record.handed,
            wait=record.waits.spread(),
            hold=record.holds.spread(),
        )

    def _in_words(self) -> str:
        owner = self._owner
        if owner is None or owner is _FREE:
            return f"{self.name!r} is free"
        return held_by(self.name, owner, self._since)

    def __repr__(self) -> str:
        """Show name, holder, and how many wait."""
        holder = self.holder()
        state = "free" if holder is None else f"held by {holder.task!r} for {holder.held_s:.3g} s"
        waiting = self._record.line.waiting if self._record is not None else 0
        return f"<Mutex {self.name!r} {state}{f' waiting={waiting}' if waiting else ''}>"

    # -- for Home ------------------------------------------------------------

    def _in_use(self) -> bool:
        return self.locked() or (self._watch is not None and self._watch.line.waiting > 0)

    def _reset(self) -> None:
        self._owner = self._watch = None
        self._by_hand = False
        if self._record is not None:
            self._record.line = WaitLine()
            self._record.heir = None
            self._record.offered = False


_NO_RECORD: Final = _Record()
