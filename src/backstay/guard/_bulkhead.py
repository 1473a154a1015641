"""`Bulkhead`: at most so many calls at once, and a line that never makes anybody late for nothing.

A plain semaphore moves an overload from the dependency into its own line: everybody
waits, until everybody's caller has given up and the work is done for nobody. So the
line here is bounded twice: in length, and in time by CoDel (`rules.queue_delay`).
First come, first served, until somebody has to be sent away; from then on the newest
is first, because only its caller is sure to be there still.

One timer serves the whole line, and there is none while nobody waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass
from math import inf
from types import TracebackType
from typing import Final, ParamSpec, Protocol, TypeVar

from backstay import context as ambient
from backstay._base import GuardMoved, guard_moved
from backstay.errors import ExpiredError, FullError, GuardMisuse
from backstay.guard._call_around import call_around
from backstay.guard._guard import Guard, Mode
from backstay.guard.rules.queue_delay import INTERVAL_S, TARGET_S, QueueDelay
from backstay.sync._durations import Durations, Spread
from backstay.sync._home import READY, read_clock
from backstay.sync._wake_queue import Waiter, WaitLine, was_given

__all__ = ["UNCHANGED", "Bulkhead", "BulkheadStatistics", "Permit", "Unchanged"]

P = ParamSpec("P")
T = TypeVar("T")


class Unchanged:
    """Stands for "as it is" in `update`, where None already means "none"."""

    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final = Unchanged()


class Permit(Protocol):
    """A block in which one has a place."""

    def __aenter__(self) -> Awaitable[None]:
        """Take it."""
        ...

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Awaitable[None]:
        """Give it back."""
        ...


@dataclass(frozen=True, slots=True)
class BulkheadStatistics:
    """How a bulkhead is doing.

    Attributes:
        name: its name.
        limit: how many calls it lets in at once.
        in_flight: how many are in; more than `limit` for a while after it was lowered.
        queue: how many may wait.
        queued: how many do.
        overloaded: whether its line is one that does not empty: the newest is served first.
        rejected: calls refused, or that would have been in shadow mode; the sum of the next three.
        full: … because the line was full.
        late: … because they had waited too long.
        expired: … because their deadline had passed before they could wait.
        wait: how long those waited who had to and were let in.
    """

    name: str
    limit: int
    in_flight: int
    queue: int
    queued: int
    overloaded: bool
    rejected: int
    full: int
    late: int
    expired: int
    wait: Spread


class Bulkhead(Guard):
    """Lets `n` calls in at once; others wait in a short line, or are told no at once.

    ::

        payments = Bulkhead(32, name="payments")

        async with payments:                 # a place, or FullError
            ...

        @payments                            # each call takes one
        async def charge(order: Order) -> Receipt: ...

        if payments.take():                  # without waiting
            try: ...
            finally: payments.release()

    Places belong to nobody: one task may take one and another give it back.

    Cancelled: a call that is cancelled while it waits has taken nothing; a place that it had
    just been given goes to the next in line.

    Cost: see ``benchmarks/guard_bulkhead.py``.
    """

    __slots__ = (
        "_expired",
        "_free",
        "_full",
        "_late",
        "_line",
        "_n",
        "_queued",
        "_room",
        "_room_is_n",
        "_rule",
        "_timer",
        "_waits",
    )

    kind = "bulkhead"
    _kind = "bulkhead"

    def __init__(
        self,
        n: int = 32,
        queue: int | None = None,
        *,
        name: str = "",
        target: float | None = TARGET_S,
        interval: float = INTERVAL_S,
        max_wait: float | None = None,
        mode: Mode = "enforce",
    ) -> None:
        """Start with all places free.

        Args:
            n: how many calls may be in at once, >= 1.
            queue: how many may wait, >= 0; as many as `n` when omitted.
            name: what it protects, for people; the line that makes it when omitted.
            target: seconds that a call may wait in a line that does not empty; None for as long as
                its deadline or `max_wait` allows.
            interval: seconds after which a line counts as one that does not empty.
            max_wait: seconds that a call may wait at most; None for no such limit.
            mode: "shadow" counts whom it would refuse, and lets everybody in at once.

        Raises:
            ValueError: a number is out of range.
        """
        super().__init__(name, mode)
        _check_places(n, queue)
        self._rule = _rule_of(target, interval, max_wait)
        self._n = n
        # Invariant: who is in flight and what is free add up to n; below 0 after n was lowered,
        # and in shadow mode. With a free place nobody waits.
        self._free = n
        self._room_is_n = queue is None
        self._room = n if queue is None else queue
        self._line: WaitLine[tuple[Waiter, float]] = WaitLine()  # each with when it came
        self._queued = 0  # of the line; one that is cancelled counts until it runs
        # Set while somebody waits, for when the oldest has waited too long; it is never too
        # late, since whoever becomes the oldest later may stay longer.
        self._timer: asyncio.Handle | None = None
        self._waits = Durations()
        self._full = self._late = self._expired = 0

    # -- taking --------------------------------------------------------------------

    @property
    def n(self) -> int:
        """How many calls it lets in at once."""
        return self._n

    @property
    def in_flight(self) -> int:
        """How many calls are in."""
        return self._n - self._free

    @property
    def queued(self) -> int:
        """How many calls wait."""
        return self._queued

    def take(self) -> bool:
        """Take a place if one is free; tell whether that worked. Give it back with `release`."""
        if self._free > 0:
            self._free -= 1
            return True
        return False

    async def acquire(self) -> None:
        """Take a place, waiting in line for it. Give it back with `release`.

        Raises:
            FullError: the line is full, or the wait was too long; `retry_after` is one interval.
            ExpiredError: there is no place, and the deadline of the caller has passed.

        Cancelled: nothing is taken. A deadline of the block around cancels the wait.
        """
        if self._free > 0:
            self._free -= 1
            return
        # In shadow mode nobody waits: who would is in flight, above n.
        if (-self._free if self._shadow else self._queued) >= self._room:
            self._refuse_full()
        elif ambient.remaining() == 0.0:
            self._refuse_expired()
        elif not self._shadow:
            await self._wait(read_clock.read())
            return
        self._free -= 1

    async def _wait(self, now: float) -> None:
        home = self._loop
        waiter = self._waiter()
        entry = waiter, now
        self._rule.join(now)
        self._line.append(entry)
        self._queued += 1
        if self._timer is None or self._loop is not home:  # left over from another loop
            self._watch(now)
        try:
            given: bool = await waiter
        except BaseException:
            if not was_given(waiter):
                self._leave(entry)
            elif waiter.result():
                self._free += 1
                if self._can_wake("acquire()"):
                    self._serve()
            raise
        waited = read_clock.read() - now
        if given:
            self._waits.record(waited)
            return
        self._refuse_late(waited)
        self._free -= 1  # only in shadow mode, into which it was put while the call waited

    def release(self) -> None:
        """Give a place back; the next in line gets it.

        Raises:
            GuardMisuse: more than was taken.
        """
        if self._free >= self._n:
            raise GuardMisuse(
                f"{self._title()} cannot get a place back: all {self._n} are free. "
                f"Release what was taken, once"
            )
        can_wake = self._queued and self._can_wake("release()")  # first: it may refuse
        self._free += 1
        if can_wake:
            self._serve()

    # -- the line --------------------------------------------------------------------

    def _serve(self) -> None:
        """Give what is free to those in line: to the oldest, or in an overload to the newest."""
        line = self._line
        if self._free <= 0 or not line:
            return
        step = line.pop if self._rule.overloaded(read_clock.read()) else line.popleft
        while self._free > 0 and line:
            if self._queue.wake(step()[0], True):
                self._free -= 1
                self._queued -= 1
        if not self._queued:
            self._rule.empty()

    def _leave(self, entry: tuple[Waiter, float]) -> None:
        """Take one off the line that was cancelled."""
        self._line.discard(entry)
        if self._queued:  # not 0 unless the line was forgotten together with its loop
            self._queued -= 1
        if not self._queued:
            self._rule.empty()

    def _watch(self, now: float) -> None:
        """Set the timer for the oldest in line, or none when nobody waits or may wait for ever."""
        self._timer = None
        oldest = self._line.first()
        if oldest is None:
            return
        due = self._rule.due(oldest[1])
        if due < inf:
            assert self._loop is not None
            # An empty context, or the timer would hold the values of whoever waits.
            self._timer = self._loop.call_later(
                max(0.0, due - now), self._on_time, due, context=Context()
            )

    def _on_time(self, due: float) -> None:
        """Look at the line behind everything that is ready now.

        A loop that was late has calls in its own queue that are about to give a place back.
        """
        assert self._loop is not None
        self._timer = self._loop.call_soon(self._drop_until, due, context=Context())

    def _drop_until(self, due: float) -> None:
        """Send away who had waited too long by `due`; who came to that later has a timer to come."""
        line, rule = self._line, self._rule
        now = read_clock.read()
        while (oldest := line.first()) is not None and rule.due(oldest[1]) <= due:
            line.popleft()
            rule.drop(now)
            self._queue.wake(oldest[0], False)
            self._queued -= 1
        if not self._queued:
            rule.empty()
        self._watch(now)

    # -- saying no ---------------------------------------------------------------------

    def _refuse_full(self) -> None:
        self._full += 1
        self.refuse(
            FullError(
                f"{self._title()} is full: {self.in_flight} calls in flight, {self._queued} waiting "
                f"(n={self._n}, queue={self._room}). Call less often, or give it more places if what "
                f"is behind it can take that",
                policy=self.name,
                retry_after=self._rule.interval,
            )
        )

    def _refuse_late(self, waited: float) -> None:
        self._late += 1
        rule = self._rule
        bound = (
            f"max_wait is {rule.longest:g} s"
            if waited >= rule.longest
            else f"the line has not been empty for {rule.interval:g} s, and then nobody waits longer "
            f"than {rule.target:g} s"
        )
        self.refuse(
            FullError(
                f"{self._title()} let a call wait for {waited:.3g} s: {bound}; "
                f"{self.in_flight} calls are in flight (n={self._n})",
                policy=self.name,
                retry_after=rule.interval,
            )
        )

    def _refuse_expired(self) -> None:
        self._expired += 1
        self.refuse(
            ExpiredError(
                f"{self._title()} has no free place (n={self._n}), and the caller's deadline has "
                f"passed: nothing was waited for",
                policy=self.name,
            )
        )

    # -- around a block or a call --------------------------------------------------------

    def __aenter__(self) -> Awaitable[None]:
        """Take a place for the block."""
        if self._free > 0:
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
        if not self._queued and self._free < self._n:
            self._free += 1
        else:
            self.release()
        return READY

    def permit(self) -> Permit:
        """Return a block that takes a place: the bulkhead itself is one."""
        return self

    def __call__(self, fn: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        """Let each call of an async function take a place."""
        return call_around(self.call, fn)

    async def call(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `fn` in a place.

        Raises:
            FullError: there is none, and the line is full or was too slow.
        """
        if self._free > 0:
            self._free -= 1
        else:
            await self.acquire()
        try:
            return await fn(*args, **kwargs)
        finally:
            if not self._queued and self._free < self._n:
                self._free += 1
            else:
                self.release()

    # -- looking after it ------------------------------------------------------------------

    def update(
        self,
        *,
        n: int | None = None,
        queue: int | Unchanged | None = UNCHANGED,
        target: float | Unchanged | None = UNCHANGED,
        interval: float | None = None,
        max_wait: float | Unchanged | None = UNCHANGED,
        mode: Mode | None = None,
    ) -> None:
        """Change settings while it works.

        More places are given to those in line at once; with fewer, who is in finishes, and
        nobody new comes in until there are. Who stands in a line that was made shorter stays.

        Raises:
            ValueError: a number is out of range; nothing has changed.
        """
        old = self._rule
        room_is_n = self._room_is_n if isinstance(queue, Unchanged) else queue is None
        new_n = self._n if n is None else n
        room = self._room if isinstance(queue, Unchanged) else queue
        _check_places(new_n, room)
        rule = _rule_of(
            old.target if isinstance(target, Unchanged) else target,
            old.interval if interval is None else interval,
            old.longest if isinstance(max_wait, Unchanged) else max_wait,
        )
        rule.since, rule.dropped = old.since, old.dropped
        super().update(mode=mode)
        before = self._settings()
        self._rule, self._room_is_n = rule, room_is_n
        self._room = new_n if room_is_n or room is None else room
        self._resize(new_n)
        if self._timer is not None:
            self._timer.cancel()
            self._watch(read_clock.read())
        if guard_moved and (after := self._settings()) != before:
            guard_moved.emit(GuardMoved(self.name, self.kind, before, after, "update()"))

    def _resize(self, n: int) -> None:
        """Have `n` places from now on."""
        self._free += n - self._n
        self._n = n
        if self._room_is_n:
            self._room = n
        if self._queued and self._can_wake("update()"):
            self._serve()

    def _settings(self) -> str:
        rule = self._rule
        return (
            f"n={self._n} queue={self._room} target={rule.target:g} interval={rule.interval:g} "
            f"max_wait={rule.longest:g} mode={self.mode}"
        )

    def statistics(self) -> BulkheadStatistics:
        """Return how it is doing."""
        return BulkheadStatistics(
            name=self.name,
            limit=self._n,
            in_flight=self.in_flight,
            queue=self._room,
            queued=self._queued,
            overloaded=self._rule.overloaded(read_clock.read()),
            rejected=self._rejected,
            full=self._full,
            late=self._late,
            expired=self._expired,
            wait=self._waits.spread(),
        )

    def _in_words(self) -> str:
        return f"{self.name!r} {self.in_flight} of {self._n} in flight, {self._queued} waiting"

    def __repr__(self) -> str:
        """Show the name, how many are in, and how many wait."""
        waiting = f" waiting={self._queued}" if self._queued else ""
        return f"<{type(self).__name__} {self.name!r} {self.in_flight} of {self._n}{waiting}>"

    def _in_use(self) -> bool:
        return self._queued > 0

    def _reset(self) -> None:
        self._line = WaitLine()
        self._queued = 0
        self._timer = None
        self._rule.empty()


def _check_places(n: int, queue: int | None) -> None:
    if n < 1:
        raise ValueError(f"a bulkhead lets in at least 1 call at once, not {n!r}")
    if queue is not None and queue < 0:
        raise ValueError(f"a line has room for at least 0 calls, not {queue!r}")


def _rule_of(target: float | None, interval: float, max_wait: float | None) -> QueueDelay:
    return QueueDelay(
        target=inf if target is None else target,
        interval=interval,
        longest=inf if max_wait is None else max_wait,
    )
