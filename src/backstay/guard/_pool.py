"""`Pool`: a bounded set of resources that are dear to open, and a fair line for them.

What pools get wrong is the moment in which somebody gives up: a connect that is
cancelled leaves its place taken for ever, or a connection that was handed over in
the turn of the cancel belongs to nobody. Here a resource is opened by a task of the
pool's own and given to whoever stands first in line *then*; a caller that leaves has
opened nothing, and leaves nothing half open.

Invariants, while nobody is in the middle of a call:

1. ``_total + _opening <= max_open``, but after `update` lowered it; `_total` counts those
   that are idle, lent, being checked, being closed, or on their way to one who waits.
2. Somebody waits in line only while nothing is idle.
3. For each who waits a resource is being opened, or all are open.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

from backstay import context as ambient
from backstay._base import Chance
from backstay.errors import FullError, GuardMisuse
from backstay.guard._guard import Guard, Mode
from backstay.guard._pool_records import Holding, Item, PoolStatistics
from backstay.guard.rules.pool_rule import ClosedBecause, PoolRule
from backstay.sync._durations import Durations
from backstay.sync._home import read_clock, task_in
from backstay.sync._wake_queue import Waiter, WaitLine, was_given
from backstay.tasks import Scope

__all__ = ["Pool", "Taken"]

T = TypeVar("T")

_log = logging.getLogger("backstay.pool")

_CLOSE_S = 5.0  # a close that hangs must not keep its place for ever


class Pool(Guard, Generic[T]):
    """Keeps up to `max_open` resources, and lends them one at a time.

    ::

        async with Pool(connect, close=Connection.close, name="orders-db") as pool:
            async with pool.take() as connection:
                await connection.execute(...)

    For what has no pool of its own: TCP connections, channels, subprocesses, models. Waiting
    is in order of arrival, and ends with the caller's deadline.

    Cancelled: a caller that is cancelled while it waits has taken nothing; a resource that
    it had just been given goes to the next.
    """

    __slots__ = (
        "_chance",
        "_check",
        "_check_after",
        "_close",
        "_closed",
        "_drained",
        "_end",
        "_held",
        "_idle",
        "_keeper",
        "_line",
        "_max_wait",
        "_max_waiting",
        "_open",
        "_opening",
        "_passing",
        "_rule",
        "_scope",
        "_timed_out",
        "_total",
        "_used",
        "_waits",
    )

    kind = "pool"
    _kind = "pool"

    def __init__(
        self,
        open: Callable[[], Awaitable[T]],  # noqa: A002 - what it does
        *,
        close: Callable[[T], Awaitable[object] | object] | None = None,
        check: Callable[[T], Awaitable[bool] | bool] | None = None,
        check_after: float = 1.0,
        name: str = "",
        max_open: int = 10,
        max_idle: int | None = None,
        lifetime: float | None = 1800.0,
        idle_time: float | None = 300.0,
        max_waiting: int | None = None,
        max_wait: float | None = None,
        mode: Mode = "enforce",
    ) -> None:
        """Describe it; nothing is opened before somebody asks, or `warm`.

        Args:
            open: opens a resource.
            close: closes one; may be a plain function.
            check: tells whether an idle one still works, before it is handed out.
            check_after: seconds of idling from which it is asked.
            name: what it holds, for people; the line that makes it when omitted.
            max_open: resources at a time.
            max_idle: resources kept while nobody uses them; all when omitted.
            lifetime: seconds that one is used at most, +-10 %; None for ever.
            idle_time: seconds without use after which one is closed; None for ever.
            max_waiting: callers that may wait; None for any number.
            max_wait: seconds that a caller may wait; None for as long as its deadline allows.
            mode: "shadow" counts whom `max_waiting` would refuse, and refuses nobody.

        Raises:
            ValueError: a number is out of range.
        """
        super().__init__(name, mode)
        self._open = open
        self._close = close
        self._check = check
        self._check_after = check_after
        self._rule = PoolRule(
            max_open, max_open if max_idle is None else max_idle, lifetime, idle_time
        )
        self._max_waiting = max_waiting
        self._max_wait = max_wait
        self._chance = Chance()
        self._scope: Scope | None = None  # owns what opens and closes; entered by the keeper
        self._keeper: asyncio.Task[None] | None = None
        self._end = asyncio.Event()
        self._idle: list[Item[T]] = []  # taken from the end
        self._held: dict[int, Item[T]] = {}  # by the identity of what was lent
        self._total = self._opening = 0
        self._passing = 0  # given to one who waited and has not run yet
        self._line: WaitLine[Waiter] = WaitLine()
        self._closed: dict[ClosedBecause, int] = {}
        self._waits, self._used = Durations(), Durations()
        self._timed_out = 0
        self._drained: asyncio.Event | None = None  # set when the last one has come back

    # -- its life ----------------------------------------------------------------

    async def __aenter__(self) -> Pool[T]:
        """Begin to lend.

        Raises:
            GuardMisuse: it is in use already.
        """
        if self._keeper is not None:
            raise GuardMisuse(f"{self._title()} was entered before: make another pool")
        loop = self._move_in()
        began = loop.create_future()
        # Not by the scope around: the pool may outlive a request that happens to be first, and
        # what surrounds the block must not become the surroundings of what is opened in it.
        self._keeper = loop.create_task(self._keep(began), name=f"pool {self.name}")
        await began
        return self

    async def _keep(self, began: asyncio.Future[None]) -> None:
        """Hold the scope open in which resources are opened and closed."""
        scope = Scope(f"pool {self.name}", kind="pool", on_error="collect", detached=True)
        async with scope:
            self._scope = scope
            if not began.done():
                began.set_result(None)
            await self._end.wait()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close, see `close`, without waiting for what is still lent when the block failed."""
        await self.close(drain=10.0 if error is None else 0.0)

    async def close(self, *, drain: float = 10.0) -> None:
        """Lend nothing more, wait for what is lent, and close all resources.

        Args:
            drain: seconds to wait for what is lent. What has not come back then is named in
                the log, and closed when it does.

        Cancelled: what is idle is closed all the same.
        """
        keeper = self._keeper
        if keeper is None or self._drained is not None:
            return
        self._drained = asyncio.Event()
        while self._line:
            self._queue.fail(self._line.popleft(), self._misuse("is closed"))
        try:
            if (self._held or self._passing) and drain > 0:
                async with asyncio.timeout(drain):
                    await self._drained.wait()
        except TimeoutError:
            pass
        finally:
            for holding in self.holdings():
                _log.warning("%s closes while this is still out: %s", self._title(), holding)
            while self._idle:
                self._discard(self._idle.pop(), "closed")
            self._end.set()
            await asyncio.wait([keeper])  # does not cancel it when we are cancelled here

    async def warm(self, count: int) -> None:
        """Open resources until `count` are open, so that the first callers need not wait.

        Raises:
            Exception: what opening one raised.
        """
        taken: list[T] = []
        try:
            for _ in range(min(count, self._rule.max_open)):
                taken.append(await self.acquire())
        finally:
            for value in taken:
                self.release(value)

    # -- lending -----------------------------------------------------------------

    def take(self) -> Taken[T]:
        """Return a block that holds a resource; one that raises gives it back as it is."""
        return Taken(self)

    async def acquire(self) -> T:
        """Take a resource, waiting for one; `release` must follow.

        Raises:
            FullError: `max_waiting` callers wait already, or `max_wait` is over.
            GuardMisuse: the pool is closed, or was never entered.
            Exception: what opening a resource raised.

        Cancelled: nothing is taken.
        """
        if self._drained is not None or self._scope is None:
            raise self._misuse("is closed" if self._drained else "has not been entered")
        now = read_clock.read()
        while self._idle:
            item = self._idle.pop()
            why = self._rule.stale(item.dies_at, item.idle_since, now)
            if why is not None:
                self._discard(item, why)
            elif (
                self._check is None
                or now - item.idle_since < self._check_after
                or await self._works(item)
            ):
                return self._lend(item, now)
        waited_for = await self._wait(now)
        return self._lend(waited_for, read_clock.read())

    async def _works(self, item: Item[T]) -> bool:
        """Ask whether an idle resource still works; one that does not is closed."""
        assert self._check is not None
        try:
            answer = self._check(item.value)
            good = bool(await answer) if isawaitable(answer) else bool(answer)
        except Exception as error:
            _log.info("%s: a check failed: %r", self._title(), error)
            good = False
        except BaseException:  # cancelled: nobody knows in which state it is now
            self._discard(item, "bad")
            raise
        if not good:
            self._discard(item, "bad")
        return good

    async def _wait(self, now: float) -> Item[T]:
        """Stand in line for a resource."""
        if self._max_waiting is not None and self._line.waiting >= self._max_waiting:
            self.refuse(self._full(f"and {self._max_waiting} callers wait for it"))
        waiter = self._waiter()
        self._line.append(waiter)
        self._open_more()
        timer = None
        if self._max_wait is not None:
            assert self._loop is not None
            timer = self._loop.call_later(self._max_wait, self._give_up, waiter)
        try:
            item: Item[T] = await waiter
        except BaseException:
            if was_given(waiter):
                self._passing -= 1
                self._offer(waiter.result(), read_clock.read())
                self._tell_if_drained()
            else:
                self._line.discard(waiter)
            raise
        finally:
            if timer is not None:
                timer.cancel()
        self._passing -= 1
        self._waits.record(read_clock.read() - now)
        return item

    def _give_up(self, waiter: Waiter) -> None:
        if self._queue.fail(waiter, self._full(f"and max_wait is {self._max_wait:g} s")):
            self._timed_out += 1
            self._rejected += 1

    def _lend(self, item: Item[T], now: float) -> T:
        frame = sys._getframe(2)  # of who awaits `acquire`
        if frame.f_code is _TAKEN and frame.f_back is not None:
            frame = frame.f_back
        self._held[id(item.value)] = item
        return item.lend(now, task_in(self._loop), frame)

    def release(self, value: T, *, bad: bool = False) -> None:
        """Give a resource back.

        Args:
            value: what `acquire` returned.
            bad: it is broken: close it, and open another when somebody wants one.

        Raises:
            GuardMisuse: it is not lent: given back twice, or never taken here.
        """
        item = self._held.pop(id(value), None)
        if item is None:
            raise GuardMisuse(
                f"{self._title()} was given {value!r}, which is not out: release what was "
                f"acquired, once"
            )
        now = read_clock.read()
        self._used.record(now - item.held_since)
        if bad:
            self._discard(item, "bad")
        else:
            self._offer(item, now)
        if self._drained is not None:
            self._tell_if_drained()

    def _tell_if_drained(self) -> None:
        if self._drained is not None and not self._held and not self._passing:
            self._drained.set()

    def _offer(self, item: Item[T], now: float) -> None:
        """Give a resource to the first in line, keep it, or close it."""
        if self._drained is not None:
            self._discard(item, "closed")
            return
        if now < item.dies_at and self._total <= self._rule.max_open:
            while self._line:
                if self._queue.wake(self._line.popleft(), item):
                    self._passing += 1
                    return
        why = self._rule.surplus(item.dies_at, now, self._total, len(self._idle))
        if why is not None:
            self._discard(item, why)
            return
        item.idle_since = now
        self._idle.append(item)

    # -- opening and closing -------------------------------------------------------

    def _open_more(self) -> None:
        """Begin to open for those who wait, as far as the limit allows."""
        assert self._scope is not None
        waiting = self._line.waiting
        for _ in range(self._rule.to_open(waiting, self._opening, self._total)):
            self._opening += 1
            self._scope.go(self._open_one)

    async def _open_one(self) -> None:
        """Open a resource, for whoever is first in line when it is there."""
        try:
            value = await self._open()
        except Exception as error:
            self._opening -= 1
            while self._line:
                if self._queue.fail(self._line.popleft(), error):
                    break
            self._open_more()
            return
        except BaseException:
            self._opening -= 1
            raise
        self._opening -= 1
        self._total += 1
        now = read_clock.read()
        self._offer(Item(value, now, self._rule.dies_at(now, self._chance.random())), now)

    def _discard(self, item: Item[T], why: ClosedBecause) -> None:
        """Close a resource that nobody holds; its place is free when it is closed."""
        self._closed[why] = self._closed.get(why, 0) + 1
        scope = self._scope
        assert scope is not None
        if self._close is None or scope.state == "ended":
            if self._close is not None:
                _log.warning("%s: %r came back after the end", self._title(), item.value)
            self._place_is_free()
        else:
            scope.go(self._close_one, item.value)

    async def _close_one(self, value: T) -> None:
        assert self._close is not None
        try:
            async with asyncio.timeout(_CLOSE_S):
                done: Any = self._close(value)
                if isawaitable(done):
                    await done
        except Exception as error:
            _log.warning("%s: closing %r failed: %r", self._title(), value, error)
        finally:
            self._place_is_free()

    def _place_is_free(self) -> None:
        self._total -= 1
        if self._drained is None:
            self._open_more()

    # -- looking after it ------------------------------------------------------------

    def update(
        self,
        *,
        max_open: int | None = None,
        max_idle: int | None = None,
        lifetime: float | None = None,
        idle_time: float | None = None,
        mode: Mode | None = None,
    ) -> None:
        """Change limits while it works; what is too much is closed as it comes back.

        Raises:
            ValueError: a number is out of range; nothing has changed.
        """
        rule = self._rule
        most = rule.max_open if max_open is None else max_open
        idle = min(rule.max_idle, most) if max_idle is None else max_idle
        self._rule = PoolRule(
            most,
            idle,
            rule.lifetime if lifetime is None else lifetime,
            rule.idle_time if idle_time is None else idle_time,
        )
        super().update(mode=mode)
        if self._scope is None or self._drained is not None:
            return
        while len(self._idle) > idle or (self._idle and self._total > most):
            self._discard(self._idle.pop(0), "idle")
        self._open_more()

    def holdings(self) -> tuple[Holding, ...]:
        """Return who holds what, since when; the longest first."""
        now = read_clock.read()
        found = [item.holding(now) for item in list(self._held.values())]
        return tuple(sorted(found, key=lambda holding: -holding.held_s))

    def leaks(self) -> tuple[Holding, ...]:
        """Return what is held by tasks and scopes that have ended, so that nobody gives it back."""
        return tuple(holding for holding in self.holdings() if holding.orphaned)

    def statistics(self) -> PoolStatistics:
        """Return how it is doing."""
        return PoolStatistics(
            name=self.name,
            max_open=self._rule.max_open,
            open=self._total,
            in_use=len(self._held),
            idle=len(self._idle),
            opening=self._opening,
            waiting=self._line.waiting,
            wait=self._waits.spread(),
            use=self._used.spread(),
            closed=dict(self._closed),
            rejected=self.rejected,
            timed_out=self._timed_out,
            leaks=len(self.leaks()),
        )

    def _full(self, why: str) -> FullError:
        oldest = self.holdings()[:1]
        held = f"; the longest out: {oldest[0]}" if oldest else ""
        return FullError(
            f"{self._title()}: all {self._rule.max_open} are in use, {why}{held}",
            policy=self.name,
            retry_after=ambient.remaining(),
        )

    def _misuse(self, what: str) -> GuardMisuse:
        return GuardMisuse(f"{self._title()} {what}: use it inside 'async with Pool(...) as pool'")

    def _in_words(self) -> str:
        return f"{self.name!r} {len(self._held)} of {self._rule.max_open} in use"

    def __repr__(self) -> str:
        """Show the name, how many are in use, and how many wait."""
        return f"<Pool {self._in_words()}, {self._line.waiting} waiting>"

    def _in_use(self) -> bool:
        return bool(self._held) or self._line.waiting > 0

    def _reset(self) -> None:
        self._line = WaitLine()


class Taken(Generic[T]):
    """A resource for the length of a block; made by `Pool.take`."""

    __slots__ = ("_pool", "_value")

    _value: T

    def __init__(self, pool: Pool[T]) -> None:
        """Nothing is taken yet."""
        self._pool = pool

    async def __aenter__(self) -> T:
        """Take one, waiting for it."""
        self._value = await self._pool.acquire()
        return self._value

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give it back."""
        self._pool.release(self._value)


_TAKEN = cast("Any", Taken.__aenter__).__code__  # a frame that is not the caller's
