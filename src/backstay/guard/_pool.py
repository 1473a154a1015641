"""`Pool`: a bounded set of resources that are dear to open, and a fair line for them.

What pools get wrong is the moment in which somebody gives up: a connect that is
cancelled leaves its place taken for ever, or a connection that was handed over in
the turn of the cancel belongs to nobody. Here a resource is opened by a task of the
pool's own and given to whoever stands first in line *then*; a caller that leaves has
opened nothing, and leaves nothing half open.

Invariants, while nobody is in the middle of a call:

1. ``total + opening <= max_open``, but after `update` lowered it; `total` counts those
   that are idle, lent, being checked, being closed, or on their way to one who waits.
2. Somebody waits in line only while nothing is idle.
3. For each who waits a resource is being opened, or all are open.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import Context
from inspect import isawaitable
from math import inf
from sys import _getframe
from types import TracebackType
from typing import Generic, TypeVar

from backstay import context as ambient
from backstay._base import Chance
from backstay.errors import FullError, GuardMisuse
from backstay.guard._guard import Guard, Mode
from backstay.guard._lending import Lending
from backstay.guard._pool_block import Taken
from backstay.guard._pool_doubt import asked_at_once
from backstay.guard._pool_records import Item, PoolStatistics
from backstay.guard._pool_supply import PATIENCE_S, Supply
from backstay.guard.rules.pool_rule import ClosedBecause, PoolRule
from backstay.sync._durations import Durations
from backstay.sync._home import read_clock, task_in
from backstay.sync._wake_queue import Waiter, WaitLine, was_given

__all__ = ["Pool"]

T = TypeVar("T")

_log = logging.getLogger("backstay.pool")

_SWEEP_S = 1.0  # seconds between two looks at what is idle, at least; Go's cleaner has the same


class Pool(Guard, Lending, Generic[T]):
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
        "_closed",
        "_drained",
        "_fresh_s",
        "_held",
        "_idle",
        "_lends",
        "_line",
        "_looked_at",
        "_max_wait",
        "_max_waiting",
        "_passing",
        "_room",
        "_rule",
        "_supply",
        "_sweep",
        "_timed_out",
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
        self._supply: Supply[T] = Supply(open, close, self)
        self._check = check
        self._check_after = check_after
        self._rule = PoolRule(
            max_open, max_open if max_idle is None else max_idle, lifetime, idle_time
        )
        self._max_waiting = max_waiting
        self._max_wait = max_wait
        self._chance = Chance()
        self._lends = False  # entered, and not closed
        self._idle: list[Item[T]] = []  # taken from the end, so the first idles longest
        self._held: dict[int, Item[T]] = {}  # by the identity of what was lent
        self._passing = 0  # given to one who waited and has not run yet, or being checked
        self._line: WaitLine[Waiter] = WaitLine()
        self._closed: dict[ClosedBecause, int] = {}
        self._waits, self._used = Durations(), Durations()
        self._timed_out = 0
        self._looked_at = -inf  # when who holds one for ever was looked for
        self._drained: asyncio.Event | None = None  # set when the last one has come back
        self._sweep: asyncio.TimerHandle | None = None  # while anything that may grow old is idle
        self._fresh_s = inf  # after so long one is looked at before it is lent
        self._room = 0  # so many may be idle for `release` to put one there without a thought
        self._follow_rule()

    # -- its life ----------------------------------------------------------------

    async def __aenter__(self) -> Pool[T]:
        """Begin to lend.

        Raises:
            GuardMisuse: it was entered before, or the loop closes.

        Cancelled: it is closed.
        """
        if self._supply.began:
            raise GuardMisuse(f"{self._title()} was entered before: make another pool")
        await self._supply.begin(self._move_in(), f"pool {self.name}")
        self._lends = self._drained is None  # not cut as soon as it began
        self._follow_rule()
        return self

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

        What is being opened is cancelled, and who waits in line is told.

        Args:
            drain: seconds to wait for what is lent. What has not come back then is named in
                the log, and closed when it does.

        Cancelled: what is idle is closed all the same.
        """
        if not self._supply.began:
            return
        if self._supply.ends:
            await self._supply.end()
            return
        drained = self._begin_end()
        try:
            if drain > 0:
                async with asyncio.timeout(drain):
                    await drained.wait()
        except TimeoutError:
            pass
        finally:
            for holding in self.holdings():
                _log.warning("%s closes while this is still out: %s", self._title(), holding)
            await self._supply.end()

    def _must_end(self) -> None:
        """Close what is idle: the loop closes, and nobody may have the time to ask for it."""
        self._begin_end()

    def _begin_end(self) -> asyncio.Event:
        """Lend nothing more; return what is set when the last one has come back."""
        if self._drained is not None:
            return self._drained
        self._lends = False
        self._room = 0
        drained = self._drained = asyncio.Event()
        if self._sweep is not None:
            self._sweep.cancel()
        while self._line:
            self._queue.fail(self._line.popleft(), self._misuse("is closed"))
        self._supply.stop_opening()
        while self._idle:
            self._discard(self._idle.pop(), "closed")
        self._tell_if_drained()
        return drained

    async def warm(self, count: int) -> None:
        """Open resources until `count` are open, so that the first callers need not wait.

        Raises:
            Exception: what opening one raised.
        """
        taken: list[T] = []
        try:
            while self._supply.total < min(count, self._rule.max_open):
                taken.append(await self.acquire())
        finally:
            for value in taken:
                self.release(value)

    # -- lending -----------------------------------------------------------------

    def take(self) -> Taken[T]:
        """Return a block that holds a resource.

        One that raises gives it back, and `check` is asked before it goes out again, however short it has been
        idle: a server that went away is noticed by the error that tells of it. One that is cut (cancelled, or by a time
        limit) closes it: half of an answer may still be on its way, and the next to use it
        would take that for its own.
        """
        return Taken(self)

    async def acquire(self) -> T:
        """Take a resource, waiting for one; `release` must follow.

        Raises:
            FullError: `max_waiting` callers wait already, or `max_wait` is over.
            GuardMisuse: the pool is closed, or was never entered.
            Exception: what opening a resource raised.

        Cancelled: nothing is taken.
        """
        # Written out, as in `Taken`: a call of its own for each step would cost as much again.
        idle, now = self._idle, read_clock.read()
        if idle and now < idle[-1].fresh_until:
            item = idle.pop()
        else:
            item = await self._find(now)
            now = read_clock.read()
        value = item.value
        self._held[id(value)] = item
        item.lend(now, task_in(self._loop), _getframe(1))
        return value

    async def _find(self, now: float) -> Item[T]:
        """Find a resource the long way: close what is too old, ask what has idled, stand in line."""
        if not self._lends:
            raise self._misuse("is closed" if self._drained else "has not been entered")
        failed = False
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
                return item
            else:
                failed = True
                now = read_clock.read()
        return await self._wait(now, first=failed)

    async def _works(self, item: Item[T]) -> bool:
        """Ask whether an idle resource still works; one that does not is closed.

        Raises:
            GuardMisuse: the pool was closed meanwhile.
        """
        assert self._check is not None
        good = False
        self._passing += 1  # so that a `close` waits for the answer
        try:
            answer = self._check(item.value)
            if isawaitable(answer):
                async with asyncio.timeout(PATIENCE_S):
                    answer = await answer
            good = bool(answer)
        except Exception as error:
            _log.info("%s: a check failed: %r", self._title(), error)
        finally:  # one that was cancelled, too: nobody knows in which state it is now
            self._passing -= 1
            if not good or not self._lends:
                self._discard(item, "closed" if good else "bad")
                self._tell_if_drained()
        if not self._lends:
            raise self._misuse("is closed")
        return good

    async def _wait(self, now: float, *, first: bool) -> Item[T]:
        """Stand in line for a resource; first in it, if one was there and did not work."""
        if self._max_waiting is not None and self._line.waiting >= self._max_waiting:
            self.refuse(self._full(f"and {self._max_waiting} callers wait for it"))
        self._look_for_leaks(now)
        waiter = self._waiter()
        timer = None
        try:
            if first:
                self._line.appendleft(waiter)
            else:
                self._line.append(waiter)
            self._open_more()
            if self._max_wait is not None:
                assert self._loop is not None
                timer = self._loop.call_later(self._max_wait, self._give_up, waiter)
            item: Item[T] = await waiter
        except BaseException:
            if was_given(waiter):
                self._passing -= 1
                self._take_back(waiter.result(), read_clock.read())
            else:
                self._line.discard(waiter)
            raise
        finally:
            if timer is not None:
                timer.cancel()
            self._waits.record(read_clock.read() - now)
        self._passing -= 1
        return item

    def _give_up(self, waiter: Waiter) -> None:
        if self._queue.fail(waiter, self._full(f"and max_wait is {self._max_wait:g} s")):
            self._timed_out += 1
            self._rejected += 1

    def release_doubtful(self, value: T, *, bad: bool = False) -> None:
        """Give a resource back whose use has raised: `check` is asked before it goes out again.

        Args:
            value: what `acquire` returned.
            bad: it is broken for sure.

        A check that is a plain function is asked at once. One that is async is asked by whoever would get the
        resource next; a caller that stands in line already gets it unasked.

        Raises:
            GuardMisuse: see `release`.
        """
        works: bool | None = True
        if not bad and self._check is not None and id(value) in self._held:
            works = asked_at_once(self._check, value, self._title())
        self.release(value, bad=bad or works is False)
        if works is None and self._idle and self._idle[-1].value is value:
            item = self._idle[-1]
            item.idle_since -= self._check_after
            item.fresh_until = item.held_since

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
        idle = self._idle
        if bad or now >= item.dies_at or len(idle) >= self._room or self._line:
            self._take_back(item, now, bad=bad)
            return
        item.idle_since = now
        until = now + self._fresh_s
        item.fresh_until = min(item.dies_at, until)
        idle.append(item)
        if self._sweep is None:
            self._sweep_later(now)

    def _take_back(self, item: Item[T], now: float, *, bad: bool = False) -> None:
        """Take back what cannot just be put with those that are idle."""
        if bad:
            self._discard(item, "bad")
        else:
            self._offer(item, now)
        self._tell_if_drained()

    def _tell_if_drained(self) -> None:
        if self._drained is not None and not self._held and not self._passing:
            self._drained.set()

    def _offer(self, item: Item[T], now: float) -> None:
        """Give a resource to the first in line, keep it, or close it."""
        if not self._lends:
            self._discard(item, "closed")
            return
        open_ = self._supply.total - self._supply.closing
        if now < item.dies_at and open_ <= self._rule.max_open:
            while self._line:
                if self._queue.wake(self._line.popleft(), item):
                    self._passing += 1
                    return
        why = self._rule.surplus(item.dies_at, now, open_, len(self._idle))
        if why is not None:
            self._discard(item, why)
            return
        item.idle_since = now
        item.fresh_until = min(item.dies_at, now + self._fresh_s)
        self._idle.append(item)
        if self._sweep is None:
            self._sweep_later(now)

    # -- opening and closing -------------------------------------------------------

    def _open_more(self) -> None:
        """Begin to open for those who wait, as far as the limit allows."""
        supply, rule = self._supply, self._rule
        # Asked again each time: with eager tasks an open that fails at once has changed all of it.
        while supply.total + supply.opening < rule.max_open:  # counting who waits takes time
            if not rule.to_open(self._line.waiting, supply.opening, supply.total):
                return
            if not supply.open():
                return  # the loop closes: `_must_end` is about to tell those who wait

    def _came(self, value: T) -> None:
        """Take in a resource that was opened, for whoever is first in line by now."""
        assert self._loop is not None
        now = read_clock.read()
        dies_at = self._rule.dies_at(now, self._chance.random())
        self._offer(Item(value, now, dies_at, self._loop), now)

    def _failed(self, error: Exception) -> None:
        """Tell the first in line that opening one failed, and try again for the others."""
        if self._lends:
            while self._line:
                if self._queue.fail(self._line.popleft(), error):
                    break
            self._open_more()

    def _place_is_free(self) -> None:
        """Open another in place of one that was closed, if somebody waits for it."""
        if self._lends:
            self._follow_rule()
            self._open_more()

    def _discard(self, item: Item[T], why: ClosedBecause) -> None:
        """Close a resource that nobody holds; its place is free when it is closed."""
        self._closed[why] = self._closed.get(why, 0) + 1
        self._supply.close(item.value)

    # -- growing old ---------------------------------------------------------------

    def _follow_rule(self) -> None:
        """Work out what the short ways of `acquire` and `release` go by."""
        rule, supply = self._rule, self._supply
        idle_s = inf if rule.idle_time is None else rule.idle_time
        self._fresh_s = idle_s if self._check is None else min(idle_s, self._check_after)
        fits = supply.total - supply.closing <= rule.max_open
        self._room = rule.max_idle if self._lends and fits else 0

    def _sweep_later(self, now: float) -> None:
        """Set the timer for when the next idle one is too old; none, where none will ever be."""
        rule = self._rule
        idle_s = inf if rule.idle_time is None else rule.idle_time
        due = min((min(i.dies_at, i.idle_since + idle_s) for i in self._idle), default=inf)
        self._sweep = None
        if due < inf and self._loop is not None:
            delay = max(_SWEEP_S, due - now)
            self._sweep = self._loop.call_later(delay, self._close_old, context=Context())

    def _close_old(self) -> None:
        """Close what is too old though nobody meets it: the last one used is lent first."""
        now = read_clock.read()
        for item in list(self._idle):
            why = self._rule.stale(item.dies_at, item.idle_since, now)
            if why is not None:
                self._idle.remove(item)
                self._discard(item, why)
        self._sweep_later(now)

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
        if not self._lends:
            return
        supply = self._supply
        while self._idle and (len(self._idle) > idle or supply.total - supply.closing > most):
            self._discard(self._idle.pop(0), "idle")
        self._follow_rule()
        now = read_clock.read()
        for item in self._idle:
            item.fresh_until = min(item.dies_at, item.idle_since + self._fresh_s)
        if self._sweep is not None:
            self._sweep.cancel()
        self._sweep_later(now)
        self._open_more()

    def statistics(self) -> PoolStatistics:
        """Return how it is doing."""
        return PoolStatistics(
            name=self.name,
            max_open=self._rule.max_open,
            open=self._supply.total,
            in_use=len(self._held),
            idle=len(self._idle),
            opening=self._supply.opening,
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
