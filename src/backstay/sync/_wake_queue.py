"""How a parked task is woken: a run queue of our own inside the event loop.

A future wakes its task through `loop.call_soon`: one handle and, since the
loop then has something to do at once, one turn of the loop per wake-up, half of
which is the system call that asks for I/O. Where two tasks hand items to each
other, that turn is most of the cost. So a woken task goes into a queue of the
loop instead, and one handle drains it: the tasks that it wakes on its way are
run in the same turn. Measured: 0.8 instead of 2.2 microseconds a wake-up on the
stock loop, 0.6 instead of 0.9 on uvloop (Python 3.11).

What parks is a plain `asyncio.Future`, because an `asyncio.Task` waits for one
of those along the fast path of its C code, and because every tool knows it.
Waking takes the task's own callback off the future, sets the result (which then
schedules nothing) and puts the callback into our queue. Anything unusual, such
as a second callback or a loop with futures of its own, is woken the plain way.

Two budgets keep the rest of the loop alive:

* A turn wakes at most `WAKES_PER_TURN` tasks, or fewer when these do a lot of
  work that never waits. What is left runs in the next turn, after I/O and
  timers. With 16 a timer beside a saturated ping-pong is less than a tenth of a
  millisecond late; with 64 it is half of one, for 5 % more speed.
* A task that always finds what it asks for never waits, and so never lets the
  loop turn. Each operation that does not wait spends one of `FAST_OPS`; when
  they are spent, the operation yields once *before* it begins (`pause`), so
  that a cancel which strikes there has interrupted nothing. This is tokio's
  cooperative budget.

The rule for every primitive on top: whoever is woken was *given* something (an
item, a lock). If it is cancelled before it runs, that must go to somebody else::

    waiter = queue.waiter()
    line.append(waiter)
    try:
        value = await waiter
    except BaseException:
        if was_given(waiter):
            give_back(waiter.result())
        else:
            line.discard(waiter)
        raise
"""

from __future__ import annotations

import asyncio
import sys
import threading
from asyncio import Future, InvalidStateError, get_running_loop
from collections import deque
from collections.abc import Callable, Generator
from contextvars import Context
from functools import partial
from typing import Any, Final, TypeVar, cast

__all__ = [
    "FAST_OPS",
    "WAKES_PER_TURN",
    "WaitLine",
    "Waiter",
    "WakeQueue",
    "here",
    "wake_queue",
    "was_given",
]

WAKES_PER_TURN: Final = 16
FAST_OPS: Final = 128
# Fast operations after which a turn ends before its 16 wake-ups: about 0.1 ms of work.
_OPS_PER_TURN: Final = 4 * FAST_OPS
# A line this short is searched for an entry that leaves it; a longer one is compacted now and then.
_SHORT_LINE: Final = 16

Waiter = Future[Any]
"""One parked task: awaited once, woken once. Make it with `WakeQueue.waiter`."""

here: Callable[[], object] = (
    get_running_loop if sys.version_info >= (3, 12) else threading.get_ident
)
"""A token of where code runs, to compare with `==`: the running loop where asking is quick.

On Python 3.11 asking for the loop costs a tenth of a microsecond, and the thread is
asked for instead; two loops of one thread are then told apart only where a task parks.
"""


def was_given(waiter: Waiter) -> bool:
    """Tell whether a waiter whose `await` was interrupted had been given something.

    Returns:
        True when `waiter.result()` now belongs to somebody else. False when it
        was not woken, or failed; from then on it cannot be woken any more.
    """
    if not waiter.done():  # its coroutine was closed: no task is there to be resumed
        for callback, _ in _callbacks_of(waiter):
            waiter.remove_done_callback(callback)
        waiter.cancel()
        return False
    return not waiter.cancelled() and waiter.exception() is None


def _callbacks_of(waiter: Waiter) -> list[tuple[Callable[[Waiter], object], Context]]:
    return list(getattr(waiter, "_callbacks", None) or ())


E = TypeVar("E")


class WaitLine(deque[E]):
    """Those who wait for one thing, first come first served.

    An entry is a waiter, or a tuple that begins with one.

    Who gives up stays in a long line as a *stale* entry until half of it is
    stale; then the line is compacted. So leaving costs constant time on average,
    and a line is hardly more than twice as long as those who wait in it.

    Invariant: `_stale` is at least the number of entries that were discarded and
    still stand here; those that were met and skipped meanwhile count until the
    next compaction.
    """

    __slots__ = ("_stale",)

    def __init__(self) -> None:
        """Start with nobody waiting."""
        super().__init__()
        self._stale = 0

    @property
    def waiting(self) -> int:
        """How many still wait; counts them, so it is for statistics."""
        return sum(1 for entry in self if _is_pending(entry))

    def first(self) -> E | None:
        """Return the first who still waits, and drop those before it who do not."""
        while self:
            entry = self[0]
            if _is_pending(entry):
                return entry
            self.popleft()
        return None

    def discard(self, entry: E) -> None:
        """Let an entry that no longer waits leave, if it still stands here."""
        if len(self) <= _SHORT_LINE:
            for index, other in enumerate(self):
                if other is entry:  # by identity: an item's own `==` is not ours to call
                    del self[index]
                    return
            return
        self._stale += 1
        if self._stale * 2 >= len(self):
            alive = [entry for entry in self if _is_pending(entry)]
            self.clear()
            self.extend(alive)
            self._stale = 0


def _is_pending(entry: Any) -> bool:
    waiter = cast("Waiter", entry[0] if type(entry) is tuple else entry)
    return not waiter.done()


class WakeQueue:
    """The run queue of one loop; get it with `wake_queue`.

    Attributes:
        loop: the loop it belongs to.
        waiter: makes a waiter for the task that is about to park.
        credit: fast operations that may still be done before the loop must turn.
        wakes_per_turn: how many tasks are woken in a turn of the loop. 0 makes
            each wake-up a handle of its own, as futures do: for loops we do not
            know, and for a schedule explorer, which wants to reorder them.
    """

    __slots__ = (
        "__weakref__",
        "_context",
        "_decisions",
        "_line",
        "_scheduled",
        "credit",
        "loop",
        "waiter",
        "wakes_per_turn",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, wakes_per_turn: int = WAKES_PER_TURN
    ) -> None:
        """Make the queue of `loop`."""
        self.loop = loop
        # The loop's own create_future does the same in a Python frame more.
        self.waiter: Callable[[], Waiter] = (
            partial(Future, loop=loop) if wakes_per_turn else loop.create_future
        )
        self.credit = FAST_OPS
        self.wakes_per_turn = wakes_per_turn
        self._line: deque[tuple[Callable[[Waiter], object], Context, Waiter]] = deque()
        self._scheduled = False
        # The drain itself needs no values; each task runs in the context of its own.
        self._context = Context()
        self._decisions = Context()  # of `soon`; the one above is in use while it drains

    def wake(self, waiter: Waiter, value: Any = None) -> bool:
        """Give `value` to a parked task and let it run soon.

        Only from the loop's own thread.

        Returns:
            False when it no longer waits: what was to be given has to go to
            somebody else.
        """
        if self.wakes_per_turn:
            try:
                ((callback, context),) = waiter._callbacks
            except (AttributeError, TypeError, ValueError):
                pass  # stale, not awaited yet, or awaited in an unusual way: the plain way serves all
            else:
                waiter.remove_done_callback(callback)
                waiter.set_result(value)
                self._line.append((callback, context, waiter))
                if not self._scheduled:
                    self._schedule()
                return True
        try:
            waiter.set_result(value)
        except InvalidStateError:
            return False
        return True

    def fail(self, waiter: Waiter, error: BaseException) -> bool:
        """Let the `await` of a parked task raise `error`; False when it no longer waits."""
        if waiter.done():
            return False
        waiter.set_exception(error)
        return True

    def soon(self, decide: Callable[[Any], object], argument: Any) -> None:
        """Call `decide(argument)` where a task woken now would run.

        For a primitive that had better decide late whom to wake.
        """
        if not self.wakes_per_turn:
            self.loop.call_soon(decide, argument, context=self._context)
            return
        self._line.append((decide, self._decisions, argument))
        if not self._scheduled:
            self._schedule()

    def wake_one(self, line: WaitLine[Waiter], value: Any = None) -> bool:
        """Give `value` to the first of `line` who still waits; False when nobody does."""
        while line:
            if self.wake(line.popleft(), value):
                return True
        return False

    def wake_all(self, line: WaitLine[Waiter], value: Any = None) -> int:
        """Give `value` to everybody in `line`; return how many there were."""
        woken = 0
        while self.wake_one(line, value):
            woken += 1
        return woken

    async def pause(self) -> None:
        """Let the loop turn once, and start with a new budget of fast operations.

        Call it before an operation begins, when `credit` is spent.

        Cancelled: nothing has happened yet.
        """
        self.credit = FAST_OPS
        await _YieldOnce()

    def _schedule(self) -> None:
        self._scheduled = True
        self.loop.call_soon(self._drain, context=self._context)

    def _drain(self) -> None:
        """Run what was woken, and what that wakes, up to the budget of a turn."""
        line = self._line
        wakes = self.wakes_per_turn or WAKES_PER_TURN  # switched off with some still in line
        ops = _OPS_PER_TURN
        try:
            while line and wakes > 0 and ops > 0:
                self.credit = FAST_OPS
                callback, context, waiter = line.popleft()
                try:
                    context.run(callback, waiter)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as error:  # as the loop does with any other callback
                    self.loop.call_exception_handler(
                        {"message": "waking a task failed", "exception": error, "future": waiter}
                    )
                wakes -= 1
                ops -= FAST_OPS - self.credit
        finally:  # also when a task ended the loop with KeyboardInterrupt
            # In this order: a signal handler may wake somebody in between.
            self._scheduled = False
            if line:
                self._schedule()

    def __repr__(self) -> str:
        """Show how many are about to run."""
        return f"<WakeQueue runnable={len(self._line)} of {self.loop!r}>"


class _YieldOnce:
    """What `asyncio.sleep(0)` awaits, without the frame around it."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        yield


def wake_queue(loop: asyncio.AbstractEventLoop | None = None) -> WakeQueue:
    """Return the run queue of a loop, made at the first call.

    Args:
        loop: which loop; the running one when omitted.

    Raises:
        RuntimeError: no loop was given and none is running.
    """
    loop = loop or get_running_loop()
    queue = cast("WakeQueue | None", getattr(loop, "_backstay_wakes", None))
    if queue is None:
        queue = WakeQueue(loop, wakes_per_turn=WAKES_PER_TURN if _is_ordinary(loop) else 0)
        try:
            setattr(loop, "_backstay_wakes", queue)
        except AttributeError:
            pass  # a loop without room for it: each primitive gets a queue of its own
    return queue


def _is_ordinary(loop: asyncio.AbstractEventLoop) -> bool:
    """Tell whether the loop's futures are woken as we know it, and its turns do not nest."""
    # nest_asyncio runs a whole loop inside a task's step, where our drain would be under way.
    return type(loop.create_future()) is Future and not hasattr(loop, "_nest_patched")
