"""`Rate`: at most so many calls a second, and a fair line for those who come too early.

The rule is GCRA (`rules.gcra`). What is added here is waiting: strictly in order of
arrival, so that a call of weight 40 is not overtaken for ever by calls of weight 1
(aiolimiter sorts its waiters by weight, and never serves it); with one timer for
the whole line; and not at all where the wait could not end in time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass, replace
from types import TracebackType
from typing import ParamSpec, TypeVar

from backstay import context as ambient
from backstay.errors import LimitError
from backstay.guard._call_around import call_around
from backstay.guard._guard import Guard, Mode
from backstay.guard.rules.gcra import Gcra
from backstay.guard.rules.paced_queue import Pace, PacedQueue
from backstay.guard.rules.warm_up import WarmUp, WarmUpRate
from backstay.sync._durations import Durations, Spread
from backstay.sync._home import READY, read_clock
from backstay.sync._wake_queue import Waiter, WaitLine, was_given

__all__ = ["Rate", "RatePermit", "RateStatistics"]

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RateStatistics:
    """How a rate limit is doing.

    Attributes:
        name: its name.
        rate: units a second.
        permitted: units a second that are permitted now: fewer than `rate` while it warms up.
        burst: units at once.
        available: units that could be taken now; below 0 while a burst that was lowered is paid off.
        granted: units taken in all, those given back not counted.
        rejected: calls refused.
        waiting: calls in line.
        wait: how long those waited who had to and were served.
    """

    name: str
    rate: float
    permitted: float
    burst: float
    available: float
    granted: float
    rejected: int
    waiting: int
    wait: Spread


class Rate(Guard):
    """Lets through `rate` units a second, and `burst` at once after a pause.

    ::

        lookups = Rate(50, burst=10, name="lookups")

        if lookups.try_acquire(): ...        # take it now, or leave it
        await lookups.acquire()              # wait in line
        async with lookups: ...              # the same, as a block

        @lookups                             # each call takes one
        async def look_up(name: str) -> str: ...

    A unit that was taken is spent; there is nothing to release.

    Cancelled: a call that is cancelled while it waits has taken nothing, and those behind
    it move up.
    """

    __slots__ = ("_granted", "_line", "_max_wait", "_rule", "_timer", "_waits")

    kind = "rate"
    _kind = "rate limit"

    def __init__(
        self,
        rate: float,
        burst: float | None = None,
        *,
        name: str = "",
        max_wait: float | None = None,
        warm_up: WarmUp | None = None,
        pace: Pace | None = None,
        mode: Mode = "enforce",
    ) -> None:
        """Start with a full burst.

        Args:
            rate: units a second, > 0.
            burst: units at once, >= 1; what comes in a tenth of a second when omitted. 1 spaces
                calls evenly ("pacing", "leaky bucket").
            name: what it limits, for people; the line that makes it when omitted.
            max_wait: seconds that a call may wait; None for as long as its deadline allows.
            warm_up: begin with a lower rate after the start and after a pause; see `WarmUp`.
            pace: let calls leave one by one, and bound who waits; see `Pace`.
            mode: "shadow" counts what it would refuse or delay, and lets it through.

        Raises:
            ValueError: a number is out of range, or two options exclude each other.
        """
        super().__init__(name, mode)
        if max_wait is not None and not max_wait >= 0:
            raise ValueError(f"max_wait is at least 0 seconds, not {max_wait!r}")
        self._rule = _rule_of(rate, burst, warm_up, pace)
        self._max_wait = max_wait
        self._line: WaitLine[tuple[Waiter, float]] = WaitLine()  # each with what it wants
        # Invariant: somebody waits in line exactly while this timer is set; it strikes when
        # what the first in line wants has come free.
        self._timer: asyncio.TimerHandle | None = None
        self._waits = Durations()
        self._granted = 0.0

    # -- taking ------------------------------------------------------------------

    def take(self, now: float, cost: float = 1.0) -> bool:
        """Take `cost` units if they are free and nobody waits; tell whether that worked.

        For callers that have read the clock already; others use `try_acquire`.
        """
        if self._timer is not None:
            return False
        rule = self._rule
        if cost == 1.0:  # as `rule.take`, without the call
            due = rule.due
            if due < now:
                due = now
            if due - now > rule.spare:
                if rule.spare >= 0.0 or rule.take(cost, now) > 0.0:  # below 0: it must be asked
                    return False
            else:
                rule.due = due + rule.unit
        elif rule.take(cost, now) > 0.0:
            return False
        self._granted += cost
        return True

    def try_acquire(self, cost: float = 1.0) -> bool:
        """Take `cost` units if they are free and nobody waits; tell whether that worked.

        Raises:
            ValueError: `cost` is not positive, or more than a burst.
        """
        return self.take(read_clock.read(), cost)

    async def acquire(self, cost: float = 1.0) -> None:
        """Take `cost` units, waiting in line until they come free.

        Raises:
            LimitError: the wait would be longer than `max_wait`, or end after the deadline
                of the caller; `retry_after` is how long it would be. Nothing was waited for.
            ValueError: `cost` is not positive, or more than a burst.

        Cancelled: nothing is taken.
        """
        now = read_clock.read()
        if self.take(now, cost):
            return
        rule = self._rule
        rule.check(cost)  # or it would wait for ever
        before = [wanted for waiter, wanted in self._line if not waiter.done()]
        wait = rule.wait_behind(sum(before), cost, now)
        if why := self._too_long(wait, len(before)):
            self.refuse(self._too_early(cost, wait, why))
            return
        if self._shadow:  # it would have been served in the end, so it counts as served
            rule.owe(cost, now)
            self._granted += cost
            return
        waiter = self._waiter()
        entry = waiter, cost
        self._line.append(entry)
        if self._timer is None:
            self._arm(now)
        try:
            await waiter
        except BaseException:
            if was_given(waiter):
                self.give_back(cost)
            else:
                self._line.discard(entry)
            if self._can_wake("acquire()"):
                self._serve()  # those behind may move up
            raise
        self._waits.record(read_clock.read() - now)

    def give_back(self, cost: float = 1.0) -> None:
        """Return units that were taken and not used, because a later guard refused the call."""
        self._rule.give_back(cost)
        self._granted -= cost
        if self._timer is not None and self._can_wake("give_back()"):
            self._serve()

    def _too_long(self, wait: float, waiting: int) -> str:
        """Say why a call may not wait so long behind so many; "" when it may."""
        if isinstance(self._rule, PacedQueue) and (why := self._rule.too_long(wait, waiting)):
            return why
        if self._max_wait is not None and wait > self._max_wait:
            return f"max_wait is {self._max_wait:g} s"
        left = ambient.remaining()
        return f"its deadline is in {left:.3g} s" if left is not None and wait > left else ""

    def _too_early(self, cost: float, wait: float, why: str) -> LimitError:
        return LimitError(
            f"rate {self.name!r} ({self._rule.rate:g}/s, burst {self._rule.burst:g}): {cost:g} would "
            f"come free in {wait:.3g} s, and {why}",
            policy=self.name,
            retry_after=wait,
        )

    # -- the line ----------------------------------------------------------------

    def _arm(self, now: float) -> None:
        """Set the timer for who is first in line, or none when nobody is."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        first = self._line.first()
        if first is not None:
            assert self._loop is not None
            wait = self._rule.wait(first[1], now)
            # An empty context, or the timer would hold the caller's values.
            self._timer = self._loop.call_later(wait, self._on_time, context=Context())

    def _on_time(self) -> None:
        self._timer = None
        self._serve()

    def _serve(self) -> None:
        """Give what is free to those in line, up to the first who wants more."""
        now = read_clock.read()
        while (first := self._line.first()) is not None and self._rule.take(
            self._rule.fitting(first[1]), now
        ) == 0.0:
            self._line.popleft()
            self._granted += first[1]
            self._queue.wake(first[0])
        self._arm(now)

    # -- around a block or a call --------------------------------------------------

    def __aenter__(self) -> Awaitable[None]:
        """Take one unit for the block."""
        return READY if self.take(read_clock.read()) else self.acquire()

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Awaitable[None]:
        """Leave the block; what was taken is spent."""
        return READY

    def permit(self, cost: float = 1.0) -> RatePermit:
        """Take `cost` units for the length of an `async with` block."""
        return RatePermit(self, cost)

    def __call__(self, fn: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        """Let each call of an async function take one unit."""
        return call_around(self.call, fn)

    async def call(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `fn` once a unit has come free."""
        if not self.take(read_clock.read()):
            await self.acquire()
        return await fn(*args, **kwargs)

    # -- looking after it ----------------------------------------------------------

    def update(
        self,
        *,
        rate: float | None = None,
        burst: float | None = None,
        max_wait: float | None = None,
        mode: Mode | None = None,
    ) -> None:
        """Change the limit while it works; who waits is served by the new one.

        Raises:
            ValueError: a number is out of range; nothing has changed.
        """
        rule = self._rule
        now = read_clock.read()
        rule.change(
            rule.rate if rate is None else rate, rule.burst if burst is None else burst, now
        )
        if max_wait is not None:
            self._max_wait = max_wait
            if isinstance(rule, PacedQueue):
                rule.settings = replace(rule.settings, max_wait=max_wait)
        super().update(mode=mode)
        if self._timer is not None and self._can_wake("update()"):
            self._serve()

    def statistics(self) -> RateStatistics:
        """Return how it is doing."""
        now = read_clock.read()
        return RateStatistics(
            name=self.name,
            rate=self._rule.rate,
            permitted=self._rule.height(now),
            burst=self._rule.burst,
            available=self._rule.level(now),
            granted=self._granted,
            rejected=self._rejected,
            waiting=self._line.waiting,
            wait=self._waits.spread(),
        )

    def _in_words(self) -> str:
        return f"{self.name!r} {self._rule.rate:g}/s, {self._line.waiting} waiting"

    def __repr__(self) -> str:
        """Show the name and the limit."""
        waiting = self._line.waiting
        line = f" waiting={waiting}" if waiting else ""
        return f"<{type(self).__name__} {self.name!r} {self._rule.rate:g}/s burst={self._rule.burst:g}{line}>"

    def _in_use(self) -> bool:
        return self._line.waiting > 0

    def _reset(self) -> None:
        self._line = WaitLine()
        self._timer = None


def _rule_of(rate: float, burst: float | None, warm_up: WarmUp | None, pace: Pace | None) -> Gcra:
    if pace is not None:
        if warm_up is not None:
            raise ValueError("a rate has pace= or warm_up=: for both, use warm_up= with burst=1")
        return PacedQueue(rate, 1.0 if burst is None else burst, settings=pace)
    if burst is None:
        burst = max(1.0, rate * 0.1)
    return Gcra(rate, burst) if warm_up is None else WarmUpRate(rate, burst, settings=warm_up)


class RatePermit:
    """Several units as a block; made by `Rate.permit`."""

    __slots__ = ("_cost", "_rate")

    def __init__(self, rate: Rate, cost: float) -> None:
        """Remember how many; nothing is taken yet."""
        self._rate = rate
        self._cost = cost

    async def __aenter__(self) -> None:
        """Take the units."""
        await self._rate.acquire(self._cost)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the block; what was taken is spent."""
