"""`AdaptiveRate`: a rate whose limit follows what the dependency does well.

For a dependency whose capacity nobody knows, or that changes: a partner who scales, a
database beside a nightly job. How the limit moves is the rule's business (`ThroughputLimit`);
where it learns from is a source: the calls made through it, or somebody who is asked.

What happens when a source cannot be asked: callers notice nothing. The limit stays where the
last measurement had put it, and `statistics()` says since when and why. Only when that has
lasted for `stale_after` seconds, the floor takes its place, until the source is back.
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import inf
from types import TracebackType
from typing import Final, Literal, ParamSpec, TypeAlias, TypeVar

from backstay._base import GuardMoved, guard_moved
from backstay.errors import GuardMisuse
from backstay.guard._guard import Mode
from backstay.guard._judgement import On, counts, judge
from backstay.guard._rate import Rate, RatePermit, RateStatistics
from backstay.guard._throughput_source import ThroughputSource
from backstay.guard.rules.outcomes import NEUTRAL, OK, Outcome
from backstay.guard.rules.running_quantile import RunningQuantile
from backstay.guard.rules.throughput_limit import Throughput, ThroughputLimit
from backstay.guard.rules.throughput_window import ThroughputWindow
from backstay.guard.rules.warm_up import WarmUp, WarmUpRate
from backstay.sync._home import read_clock
from backstay.tasks import timeout

__all__ = ["AdaptiveRate", "AdaptiveRatePermit", "AdaptiveRateStatistics", "SourceState"]

P = ParamSpec("P")
T = TypeVar("T")

_SOME: Final = 7  # a call whose number has none of these bits is timed

WARM_UP: Final = WarmUp(30.0)
"""As long as a step of a limit with the usual window."""

SourceState: TypeAlias = Literal["own", "untaught", "unasked", "fresh", "failing", "stale"]
"""Where the limit of an adaptive rate comes from.

"own": the calls made through it; "untaught" when units were taken and nobody has said how the
work ended, so that the limit cannot move: use `call` or `permit`, or give it a source.

Of a source: "unasked" before it was asked for the first time; "fresh" when it answered last time;
"failing" when it did not, and the limit is held; "stale" when the last answer is too old: a
source that is asked and fails has then put the floor in force, and where nobody asks any more
the limit stays.
"""


@dataclass(frozen=True, slots=True)
class AdaptiveRateStatistics(RateStatistics):
    """How an adaptive rate is doing.

    Attributes:
        limit: what the rule says, in units a second; `rate` is what is in force.
        measured: the last measurement; None before the first.
        age_s: how old it is; None before the first.
        source: where the limit comes from, see `SourceState`.
        error: what the source said when it failed last; "" when it answered.
        failures: how often it has failed.
    """

    limit: float
    measured: Throughput | None
    age_s: float | None
    source: SourceState
    error: str
    failures: int


class AdaptiveRate(Rate):
    """Lets through as many units a second as the dependency has lately done well, and some more.

    ::

        partner = AdaptiveRate(ThroughputLimit(100, floor=10, ceiling=500), name="partner")

        @partner
        async def ask(question: str) -> str: ...

    It counts calls and `permit()` blocks by how they end, after the law of outcomes that all
    guards share. ``acquire``, ``try_acquire`` and ``async with partner:`` take a unit and teach
    it nothing. With a source it counts nothing, and asks, while somebody follows it::

        partner = AdaptiveRate(ThroughputLimit(100), PrometheusQuery(...), name="partner")

        async with Scope("rates", on_exit="cancel") as scope:
            scope.go(partner.follow)
            ...

    Cancelled: as for `Rate`; and a call that was cancelled says nothing about the dependency.
    """

    __slots__ = (
        "_burst",
        "_counted",
        "_error",
        "_every",
        "_failures",
        "_followed",
        "_limit_rule",
        "_measured",
        "_measured_at",
        "_next",
        "_since",
        "_source",
        "_stale_after",
        "_timeout",
        "_usual",
        "_window",
    )

    def __init__(
        self,
        rule: ThroughputLimit,
        source: ThroughputSource | None = None,
        *,
        on: On = Exception,
        burst: float | None = None,
        warm_up: WarmUp | None = WARM_UP,
        every: float | None = None,
        timeout: float = 5.0,
        stale_after: float | None = None,
        name: str = "",
        max_wait: float | None = None,
        mode: Mode = "enforce",
    ) -> None:
        """Start at the rule's first limit, cold.

        Args:
            rule: how the limit moves, for this rate alone.
            source: what is asked for good throughput; the calls made through it when omitted.
            on: which errors end a call badly: a class, several, or a function of the exception.
                Other errors are answers.
            burst: units at once, >= 1; what comes in a tenth of a second at the first limit when
                omitted. It grows with the limit, to a tenth of a second of it, and never shrinks below this.
            warm_up: begin lower after the start and after a pause; None for at once.
            every: seconds between two looks, > 0; a sixtieth of the rule's window when omitted.
            timeout: seconds that the source may take to answer, > 0.
            stale_after: seconds without a measurement after which the floor is in force;
                `math.inf` to hold the limit however long. The rule's window when omitted.
            name: what it limits, for people; the line that makes it when omitted.
            max_wait: as for `Rate`.
            mode: as for `Rate`; in shadow mode the rule learns, too.

        Raises:
            ValueError: a number is out of range.
            TypeError: `on` is nothing of what it can be.
        """
        every = rule.window / 60 if every is None else every
        for word, seconds in (("every", every), ("timeout", timeout)):
            if not seconds > 0:
                raise ValueError(f"{word} is more than 0 seconds, not {seconds!r}")
        super().__init__(
            rule.limit,
            burst,
            name=name,
            max_wait=max_wait,
            warm_up=warm_up,
            mode=mode,
        )
        self._limit_rule = rule
        self._source = source
        self._counted = counts(on)
        self._usual = RunningQuantile()
        self._window = ThroughputWindow(rule.window)
        self._burst = self._rule.burst
        self._every = every
        self._timeout = timeout
        self._stale_after = rule.window if stale_after is None else stale_after
        self._measured: Throughput | None = None
        self._measured_at = -inf  # when; at first, since when it is waited for
        self._since = -inf  # when the limit moved last
        self._next = -inf  # when own counts are looked at again
        self._error = ""
        self._failures = 0
        self._followed = False

    # -- around a block or a call ----------------------------------------------------

    def permit(self, cost: float = 1.0) -> AdaptiveRatePermit:
        """Take `cost` units for an `async with` block, and learn from how it ends."""
        return AdaptiveRatePermit(self, cost)

    async def call(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `fn` once a unit has come free, and learn from how it ends."""
        if not self.take(read_clock.read()):
            await self.acquire()
        began = read_clock.read()
        try:
            result = await fn(*args, **kwargs)
        except BaseException as error:
            self.ended(error, began)
            raise
        now = read_clock.read()
        window = self._window
        newest = window.newest
        # As `learn`, without the calls; of a few calls it is noted how long they took.
        if (
            now < window.until
            and now < self._next
            and began >= self._since
            and int(newest[2]) & _SOME
        ):
            newest[1] += 1.0
            newest[2] += 1.0
        else:
            self.learn(OK, now, now - began)
        return result

    def judge(self, error: BaseException, elapsed: float, now: float) -> Outcome:
        """Say what a call that ended with `error` says about the dependency."""
        return judge(error, elapsed, self._usual.seconds, None, self._counted, now)

    def learn(self, outcome: Outcome, now: float, elapsed: float, cost: float = 1.0) -> None:
        """Count a call that was let through and has ended.

        Args:
            outcome: what it says about the dependency.
            now: seconds on the clock of `backstay.now()`.
            elapsed: seconds that it took.
            cost: the units that it had taken.
        """
        if outcome == OK:
            self._usual.add(elapsed)
        if self._source is not None or outcome == NEUTRAL or now - elapsed < self._since:
            return  # what began under another limit says nothing of this one
        self._window.add(outcome == OK, cost, now)
        if now >= self._next:
            self._next = now + self._every
            self._take_in(self._window.measure(now), now)

    def ended(self, error: BaseException | None, began: float, cost: float = 1.0) -> None:
        """Judge and count a call that began at `began` and has ended with `error`, or well."""
        now = read_clock.read()
        outcome = OK if error is None else self.judge(error, now - began, now)
        self.learn(outcome, now, now - began, cost)

    # -- following a source ------------------------------------------------------------

    async def follow(self) -> None:
        """Ask the source now and then, for as long as the task that runs this lives.

        Give it to a scope: ``scope.go(rate.follow)``. Ends at once without a source.

        Raises:
            GuardMisuse: it is followed already.

        Cancelled: the limit stays where it is.
        """
        if self._source is None:
            return
        if self._followed:
            raise GuardMisuse(f"{self._title()} is followed already: once is enough")
        self._followed = True
        try:
            while True:
                await self.refresh()
                await asyncio.sleep(self._every)
        finally:
            self._followed = False

    async def refresh(self) -> None:
        """Ask the source once. What it raises is kept for `statistics()`, and not raised.

        Cancelled: nothing has changed.
        """
        source = self._source
        if source is None:
            return
        began = read_clock.read()
        if self._measured_at == -inf:
            self._measured_at = began
        try:
            async with timeout(self._timeout):
                measured = _checked(await source.measure(self._limit_rule.changed))
        except (Exception, CancelledError) as error:
            task = asyncio.current_task()
            if isinstance(error, CancelledError) and (task is None or task.cancelling()):
                raise  # it is we who are cancelled, and not something inside of the source
            self._failed(error)
        else:
            self._error = ""
            self._take_in(measured, read_clock.read())

    def _failed(self, error: BaseException) -> None:
        self._failures += 1
        self._error = f"{type(error).__name__}: {error}".rstrip(": ")
        if read_clock.read() - self._measured_at > self._stale_after:
            self._put(self._limit_rule.floor, f"no measurement for {self._stale_after:g} s")

    def _take_in(self, measured: Throughput, now: float) -> None:
        self._measured, self._measured_at = measured, now
        rule = self._limit_rule
        if self._rule.rate != rule.limit and isinstance(self._rule, WarmUpRate):
            self._rule.chill(now)  # back from the floor: the limit is an old one by now
        if rule.sample(measured, now):
            self._window.begin(now)
            self._since = now
        self._put(rule.limit, f"{measured.good:.4g}/s of {measured.asked:.4g}/s ended well")

    def _put(self, limit: float, why: str) -> None:
        """Let `limit` be in force."""
        before = self._rule.rate
        if limit == before:
            return
        super().update(rate=limit, burst=max(self._burst, limit * 0.1))
        if guard_moved:
            guard_moved.emit(GuardMoved(self.name, self.kind, f"{before:g}/s", f"{limit:g}/s", why))

    # -- looking after it ------------------------------------------------------------

    def update(
        self,
        *,
        rate: float | None = None,
        burst: float | None = None,
        max_wait: float | None = None,
        mode: Mode | None = None,
    ) -> None:
        """Change how long callers may wait, or the mode, while it works.

        Raises:
            GuardMisuse: `rate` or `burst` is given: that is for the rule to decide.
            ValueError: a number is out of range; nothing has changed.
        """
        if rate is not None or burst is not None:
            raise GuardMisuse(
                f"{self._title()} finds its limit by itself, so it cannot be set: "
                f"use a plain Rate, or a rule with other bounds"
            )
        super().update(max_wait=max_wait, mode=mode)

    def statistics(self) -> AdaptiveRateStatistics:
        """Return how it is doing."""
        plain = super().statistics()
        age = None if self._measured is None else read_clock.read() - self._measured_at
        return AdaptiveRateStatistics(
            **{name: getattr(plain, name) for name in plain.__slots__},
            limit=self._limit_rule.limit,
            measured=self._measured,
            age_s=age,
            source=self._state(),
            error=self._error,
            failures=self._failures,
        )

    def _state(self) -> SourceState:
        if self._source is None:
            return "own" if self._window.newest or not self._granted else "untaught"
        if self._measured_at == -inf:
            return "unasked"
        if read_clock.read() - self._measured_at > self._stale_after:
            return "stale"
        return "failing" if self._error else "fresh"


def _checked(measured: object) -> Throughput:
    """Refuse what a source of somebody else's returns and should not."""
    if not isinstance(measured, Throughput):
        raise TypeError(f"a source measures a Throughput, and this one returned {measured!r}")
    return measured


class AdaptiveRatePermit(RatePermit):
    """Several units as a block from which the rule learns; made by `AdaptiveRate.permit`."""

    __slots__ = ("_adaptive", "_began")

    def __init__(self, rate: AdaptiveRate, cost: float) -> None:
        """Remember how many; nothing is taken yet."""
        super().__init__(rate, cost)
        self._adaptive = rate
        self._began = 0.0

    async def __aenter__(self) -> None:
        """Take the units, and start the clock."""
        await super().__aenter__()
        self._began = read_clock.read()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Learn from the block."""
        self._adaptive.ended(error, self._began, self._cost)
