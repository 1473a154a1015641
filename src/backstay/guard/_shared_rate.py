"""`SharedRate`: one rate for all processes of a service, kept in a store such as Redis.

A call takes from what its process holds, which costs as much as a local limit. What the process
holds it fetches from the store in the background: a lease for calls to come, and places in the
future for those that wait. `guard.rules.shared_quota` decides what the store gives,
`guard.rules.quota_book` keeps it, `_store_courier` fetches it. A caller that gives up has
fetched nothing itself: what was on its way goes to the next in line.

Invariants, while nobody is in the middle of a call:

1. Unless a question is under way, what is held and coming covers those in line, or one is due.
   It does not matter whose units were asked for: the first in line takes what is ripe.
2. ``_book.floor`` is infinite exactly while somebody is in line, so that nobody overtakes.
3. While the store is down nobody is in line.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from contextvars import Context
from math import inf
from types import TracebackType
from typing import Final
from uuid import uuid4

from backstay import context as ambient
from backstay.errors import GuardMisuse, LimitError
from backstay.guard._guard import Guard, Mode, unlist
from backstay.guard._rate import Rate
from backstay.guard._shared_rate_records import (
    Caller,
    OnStoreDown,
    RateStore,
    SharedPermit,
    SharedRateStatistics,
    check_options,
    too_early,
)
from backstay.guard._store_courier import StoreCourier
from backstay.guard.rules.gcra import Gcra
from backstay.guard.rules.quota_book import QuotaBook
from backstay.guard.rules.shared_quota import (
    MICRO,
    Ask,
    Entry,
    QuotaAnswer,
    lease_for,
    microseconds,
)
from backstay.sync._durations import Durations
from backstay.sync._home import read_clock
from backstay.sync._wake_queue import was_given
from backstay.tasks import Scope

__all__ = ["SharedRate"]

_BUDGET_S: Final = 0.020
_BEAT_S: Final = 5.0  # a process that uses the limit asks at least as often, to be counted
_WINDOW_S: Final = 15.0  # three beats: one that is late is not gone
_BATCH: Final = 64  # calls that one question asks for
_AGAIN_S: Final = 1.0  # what only the store could grant is asked for again when it may be back
_GIVEN: Final = True
_DECIDE_ALONE: Final = False  # the store is down


class SharedRate(Guard):
    """Lets at most `rate` calls a second through, in all processes together.

    ::

        store = RedisStore.from_url("redis://limits:6379")

        async with SharedRate("payments", store, rate=200, burst=20) as payments:
            await payments.acquire()
            async with payments.permit(): ...
            if payments.try_acquire(): ...

    It has to be open while it is used: what it fetches belongs to it. `Policy(rate=...)` takes it.

    How exact: in any ``d`` seconds all processes together admit no more than
    ``burst + rate * d``, and one lease for each process; `statistics().lease` says how much that
    is. With ``lease=0`` there is none, and every call waits for an answer of the store; what is
    left above the limit then is what callers had been given that were cancelled at that moment,
    which goes to the next in line.

    Cancelled: a call that is cancelled while it waits has taken nothing; what was reserved for
    it goes to the next in line, or back to the store.
    """

    __slots__ = (
        "_alone",
        "_asking",
        "_beat_at",
        "_book",
        "_closed",
        "_counts",
        "_courier",
        "_end",
        "_full_until",
        "_granted",
        "_keeper",
        "_lease",
        "_line",
        "_local",
        "_local_granted",
        "_max_wait",
        "_on_store_down",
        "_process",
        "_scope",
        "_store",
        "_timer",
        "_waits",
        "_whole",
    )

    kind = "shared rate"
    _kind = "shared rate"

    def __init__(
        self,
        name: str,
        store: RateStore,
        *,
        rate: float,
        burst: float | None = None,
        lease: float | None = None,
        on_store_down: OnStoreDown = "local",
        budget: float = _BUDGET_S,
        max_wait: float | None = None,
        mode: Mode = "enforce",
    ) -> None:
        """Describe it; nothing is asked before it is opened.

        Args:
            name: of the limit, in the store and for people: the same in all processes.
            store: where they meet.
            rate: units a second, of all processes together, > 0.
            burst: units at once, >= 1; what comes in a tenth of a second when omitted.
            lease: units that this process may hold for calls to come; 0 to ask the store for
                every call. When omitted `rules.shared_quota.lease_for` decides.
            on_store_down: what happens while the store does not answer: "local" keeps to this
                process's share of the rate, "open" admits everything, "closed" nothing.
            budget: seconds after which the store counts as down.
            max_wait: seconds that a call may wait; None for as long as its deadline allows.
            mode: "shadow" counts what it would refuse or delay, and lets it through.

        Raises:
            ValueError: a number is out of range, or `on_store_down` is none of the three.
        """
        if not name:
            raise ValueError("a shared rate needs a name: by it the processes find each other")
        super().__init__(name, mode)
        check_options(on_store_down, lease, budget, max_wait)
        # Decides while the store is down, at this process's share; checks rate and burst, too.
        self._local = Rate(rate, burst, name=name, max_wait=max_wait)
        unlist(self._local)
        self._whole = Gcra(rate, self._local._rule.burst)  # the limit of all, to check costs by
        self._lease = lease
        self._store = store
        self._on_store_down = on_store_down
        self._max_wait = max_wait
        self._courier = StoreCourier(store, budget, self)
        self._process = f"{os.getpid()}-{uuid4().hex[:12]}"
        self._counts: tuple[int, ...] = (1,)  # of processes, by the last answers
        self._book = QuotaBook(self._lease_now())
        self._line: deque[Caller] = deque()
        self._asking: tuple[Caller, ...] = ()  # of the question that is under way
        self._alone = False  # the store is down, and what to do without it has been set up
        self._full_until = -inf  # until then the store is known to give nothing at once
        self._beat_at = -inf
        self._timer: asyncio.TimerHandle | None = None
        self._scope: Scope | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._end = asyncio.Event()
        self._closed = False
        self._granted = self._local_granted = 0.0
        self._waits = Durations()

    # -- its life ------------------------------------------------------------------

    async def __aenter__(self) -> SharedRate:
        """Open it, and fetch a first lease in the background.

        Raises:
            GuardMisuse: it was opened before.
        """
        if self._keeper is not None:
            raise GuardMisuse(f"{self._title()} was opened before: make another one")
        loop = self._move_in()
        began: asyncio.Future[None] = loop.create_future()
        # As a pool's: what surrounds the block must not surround what is asked in it.
        self._keeper = loop.create_task(self._keep(began), name=f"shared rate {self.name}")
        self._keeper.add_done_callback(lambda _: None if began.done() else began.set_result(None))
        try:
            await began
        except BaseException:
            self._end.set()  # nobody will leave a block that was never entered
            raise
        if self._scope is None:  # cancelled before it had begun
            self._closed = True
            raise self._misuse()
        self._ask(read_clock.read())
        return self

    async def _keep(self, began: asyncio.Future[None]) -> None:
        """Hold the scope open in which the store is asked."""
        name = f"shared rate {self.name}"
        async with Scope(name, kind="shared rate", on_exit="cancel", detached=True) as scope:
            self._scope = scope
            if not began.done():
                began.set_result(None)
            try:
                await self._end.wait()
            finally:
                self._shut()  # also when somebody cancels all tasks there are

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it, see `close`."""
        await self.close()

    async def close(self) -> None:
        """Refuse who waits, and give back what is held; the store itself stays open.

        Cancelled: it is closed all the same; what is held may be lost to the others until the
        limit has come round.
        """
        keeper = self._keeper
        if keeper is None:
            return
        if not self._closed:
            self._shut()
            try:
                await self._hand_back()
            finally:
                self._end.set()
        # `wait` does not cancel what it waits for when we are cancelled here.
        await asyncio.wait([keeper])

    async def _hand_back(self) -> None:
        """Give what is held to the others: a courtesy, whose failure must not hinder the end."""
        back = self._book.give_up()
        if back <= 0 or not self._courier.up or self._courier.busy:
            return
        ask = self._question((), 0, int(back * MICRO / self._whole.rate))
        with contextlib.suppress(Exception):
            async with asyncio.timeout(self._courier.budget):
                await self._store.ask(ask)

    def _shut(self) -> None:
        """Refuse who waits, and whoever comes from now on."""
        self._closed = True
        for caller in self._line:
            self._queue.fail(caller.waiter, self._misuse())
        self._line.clear()
        self._set_timer(None)
        self._book.floor = inf

    # -- taking --------------------------------------------------------------------

    def take(self, now: float, cost: float = 1.0) -> bool:
        """Take `cost` units of what this process holds; tell whether there were enough.

        For callers that have read the clock already; others use `try_acquire`.
        """
        book = self._book
        left = book.held - cost
        if left >= book.floor:
            book.held = left
            self._granted += cost
            return True
        return self._take_slowly(now, cost)

    def try_acquire(self, cost: float = 1.0) -> bool:
        """Take `cost` units if this process holds them and nobody waits; tell whether that worked.

        With ``lease=0`` it holds none, so that only `acquire` gets any.

        Raises:
            ValueError: `cost` is not positive, or more than a burst.
            GuardMisuse: it is not open.
        """
        self._whole.check(cost)
        return self.take(read_clock.read(), cost)

    def _take_slowly(self, now: float, cost: float) -> bool:
        if self._scope is None or self._closed:
            raise self._misuse()
        if not self._courier.up:
            self._ask(now)
            return self._take_alone(now, cost)
        if self._line:
            return False
        self._book.ripen(now)
        taken = self._book.take(cost)
        if taken:
            self._granted += cost
        self._ask(now)
        return taken

    def _take_alone(self, now: float, cost: float) -> bool:
        """Decide without the store."""
        self._book.ripen(now)
        if self._book.take(cost):
            self._granted += cost
            return True
        admitted = self._on_store_down == "open" or (
            self._on_store_down == "local"
            and cost <= self._local._rule.burst
            and self._local.take(now, cost)
        )
        if admitted:
            self._local_granted += cost
            self._granted += cost
        return admitted

    async def acquire(self, cost: float = 1.0) -> None:
        """Take `cost` units, waiting in line until they come free.

        Raises:
            LimitError: the wait would be longer than `max_wait`, or end after the deadline of the
                caller; or the store is down and `on_store_down` says no.
            ValueError: `cost` is not positive, or more than a burst.
            GuardMisuse: it is not open.

        Cancelled: nothing is taken.
        """
        now = read_clock.read()
        self._whole.check(cost)
        if self.take(now, cost):
            return
        if self._shadow:
            self.refuse(self._too_early(cost, 0.0))
            self._granted += cost
            return
        until = self._latest(now)
        if not self._courier.up:
            await self._wait_alone(cost)
            return
        wait = self._full_until - now + cost / self._whole.rate
        if wait > until - now:  # what the store has said lately is answer enough
            self._ask(now)
            self.refuse(self._too_early(cost, wait))
        caller = Caller(cost, until, self._waiter())
        self._line.append(caller)
        self._book.floor = inf
        self._ask(now)
        try:
            given: bool = await caller.waiter
        except BaseException:
            self._gave_up(caller)
            raise
        self._waits.record(read_clock.read() - now)
        if given is _DECIDE_ALONE:
            await self._wait_alone(cost)

    async def _wait_alone(self, cost: float) -> None:
        """Wait for this process's own share, or be refused, while the store is down."""
        mode, share = self._on_store_down, self._local._rule.burst
        if mode == "closed" or (mode == "local" and cost > share):
            self.refuse(self._too_early(cost, _AGAIN_S))
        elif mode == "local":
            try:
                await self._local.acquire(cost)
            except LimitError as error:
                self.refuse(self._too_early(cost, error.retry_after or 0.0))
        self._local_granted += cost
        self._granted += cost

    def _gave_up(self, caller: Caller) -> None:
        """Let a caller leave that was cancelled; what was meant for it is for the next."""
        if was_given(caller.waiter):
            if caller.waiter.result() is _GIVEN:
                self._granted -= caller.cost
                self._book.hold(caller.cost)
        elif caller in self._line:
            self._line.remove(caller)
        if not self._closed and self._can_wake("acquire()"):
            self._serve(read_clock.read())

    def give_back(self, cost: float = 1.0) -> None:
        """Return units that were taken and not used, because a later guard refused the call."""
        self._granted -= cost
        self._book.hold(cost)
        if self._line and self._can_wake("give_back()"):
            self._serve(read_clock.read())

    def permit(self, cost: float = 1.0) -> SharedPermit:
        """Take `cost` units for the length of an `async with` block."""
        return SharedPermit(self, cost)

    def _latest(self, now: float) -> float:
        bounds = (self._max_wait, ambient.remaining())
        return now + min((bound for bound in bounds if bound is not None), default=inf)

    # -- the line ------------------------------------------------------------------

    def _serve(self, now: float) -> None:
        """Give what is ripe to those in line, and see to what comes next."""
        book, line = self._book, self._line
        ripe_at = book.ripen(now)
        while line and book.take(line[0].cost):
            caller = line.popleft()
            self._granted += caller.cost
            if not self._queue.wake(caller.waiter, _GIVEN):  # it was cancelled in this turn
                self._granted -= caller.cost
                book.hold(caller.cost)
        book.floor = inf if line else book.lease / 2
        self._set_timer(ripe_at)
        self._ask(now)

    def _set_timer(self, at: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if at is not None:
            assert self._loop is not None
            wait = max(0.0, at - read_clock.read())
            self._timer = self._loop.call_later(wait, self._on_time, context=Context())

    def _on_time(self) -> None:
        self._timer = None
        self._serve(read_clock.read())

    # -- the store -------------------------------------------------------------------

    def _ask(self, now: float) -> None:
        """Ask the store for what is missing, if anything is, and nothing is on its way."""
        courier, book = self._courier, self._book
        if self._scope is None or self._closed or not courier.may_ask(now):
            return
        entries: list[Caller] = []
        want = back = 0.0
        if courier.up and self._line:
            entries = self._uncovered()
        elif courier.up:
            back = book.spare if book.spare >= 1.0 else 0.0
            want = book.lease - book.held - book.coming
            if want < book.lease / 2 or now < self._full_until:
                want = 0.0
        is_due = now - self._beat_at >= _BEAT_S or not courier.up
        if not (entries or want > 0 or back > 0 or is_due):
            return
        self._beat_at = now
        book.held -= back
        self._asking = tuple(entries)
        asked = tuple(
            Entry(microseconds(one.cost, self._whole.rate), one.most_us(now)) for one in entries
        )
        per_unit = MICRO / self._whole.rate
        courier.send(self._scope, self._question(asked, int(want * per_unit), int(back * per_unit)))

    def _uncovered(self) -> list[Caller]:
        """Return those in line whom neither what is held nor what is coming will serve."""
        covered = self._book.held + self._book.coming
        found: list[Caller] = []
        for caller in self._line:
            covered -= caller.cost
            if covered < -1e-9 and not caller.waiter.done():
                found.append(caller)
                if len(found) == _BATCH:
                    break
        return found

    def _question(self, entries: tuple[Entry, ...], want_us: int, back_us: int) -> Ask:
        burst_us = microseconds(self._whole.burst, self._whole.rate)
        window_us = int(_WINDOW_S * MICRO)
        return Ask(self._name, burst_us, entries, want_us, back_us, self._process, window_us)

    def answered(self, ask: Ask, answer: QuotaAnswer) -> None:
        """The courier brings what the store has decided."""
        now = read_clock.read()
        self._counts = (*self._counts, answer.processes)[-3:]
        book = self._book
        book.lease = self._lease_now()
        ahead = answer.ahead_us - ask.burst_us
        self._full_until = now + ahead / MICRO if ahead >= 0 else -inf
        asking, self._asking = self._asking, ()
        for caller, entry, wait_us in zip(asking, ask.entries, answer.waits_us, strict=False):
            if wait_us >= 0:
                book.reserve(entry.cost_us * self._whole.rate / MICRO, now + wait_us / MICRO)
            elif caller in self._line:
                self._line.remove(caller)
                self._turn_away(caller, (-1 - wait_us) / MICRO)
        book.hold(answer.granted_us * self._whole.rate / MICRO)
        if not self._closed:
            self._serve(now)

    def _turn_away(self, caller: Caller, wait: float) -> None:
        try:
            self.refuse(self._too_early(caller.cost, wait))
        except LimitError as error:
            self._queue.fail(caller.waiter, error)
        else:  # shadow mode since it began to wait
            self._queue.wake(caller.waiter, _GIVEN)

    def unanswered(self, error: BaseException | None) -> None:
        """The store is down: nobody waits for it any more."""
        if not self._alone:
            self._alone = True
            self._share_alone()
            # A share that began full would be a second burst.
            rule = self._local._rule
            rule.due = read_clock.read() + rule.burst / rule.rate
        line, self._line = self._line, deque()
        for caller in line:
            self._queue.wake(caller.waiter, _DECIDE_ALONE)
        self._book.floor = self._book.lease / 2

    def _share_alone(self) -> None:
        """Set this process's part of the limit, for while it decides alone."""
        whole, share = self._whole, max(self._counts)
        self._local.update(rate=whole.rate / share, burst=max(1.0, whole.burst / share))

    def idle(self) -> None:
        """The courier is back."""
        self._asking = ()
        self._alone = not self._courier.up
        if not self._closed:
            self._serve(read_clock.read())

    def _lease_now(self) -> float:
        if self._lease is not None:
            return self._lease
        return lease_for(self._whole.rate, self._whole.burst, max(self._counts))

    # -- looking after it ------------------------------------------------------------

    def update(
        self,
        *,
        rate: float | None = None,
        burst: float | None = None,
        on_store_down: OnStoreDown | None = None,
        mode: Mode | None = None,
    ) -> None:
        """Change the limit while it works, in this process: the others have to be told as well.

        Raises:
            ValueError: a number is out of range; nothing has changed.
        """
        check_options(on_store_down or self._on_store_down)
        whole = self._whole
        whole.set(whole.rate if rate is None else rate, whole.burst if burst is None else burst)
        self._share_alone()
        self._on_store_down = on_store_down or self._on_store_down
        self._book.lease = self._lease_now()
        super().update(mode=mode)

    @property
    def rate(self) -> float:
        """Units a second, of all processes together."""
        return self._whole.rate

    def statistics(self) -> SharedRateStatistics:
        """Return how this process's part is doing."""
        courier = self._courier
        return SharedRateStatistics(
            name=self.name,
            rate=self._whole.rate,
            burst=self._whole.burst,
            processes=max(self._counts),
            lease=self._book.lease,
            available=self._book.held,
            granted=self._granted,
            rejected=self._rejected,
            waiting=len(self._line),
            wait=self._waits.spread(),
            store="up" if courier.up else "down",
            trips=courier.trips,
            trip=courier.took.spread(),
            store_errors=courier.errors,
            local_granted=self._local_granted,
        )

    def _too_early(self, cost: float, wait: float) -> LimitError:
        down = None if self._courier.up else self._courier.why()
        return too_early(self._name, self._whole, max(self._counts), cost, wait, down)

    def _misuse(self) -> GuardMisuse:
        what = "closed" if self._closed else "not open: use it inside 'async with' around it"
        return GuardMisuse(f"{self._title()} is {what}")

    def _in_words(self) -> str:
        return f"{self.name!r} {self._whole.rate:g}/s shared, {len(self._line)} waiting"

    def __repr__(self) -> str:
        """Show the name and the limit."""
        whole, store = self._whole, "" if self._courier.up else ", store down"
        return f"<SharedRate {self.name!r} {whole.rate:g}/s burst={whole.burst:g}{store}>"

    def _in_use(self) -> bool:
        return self._keeper is not None and not self._closed
