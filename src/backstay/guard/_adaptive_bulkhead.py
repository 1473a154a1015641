"""`AdaptiveBulkhead`: a bulkhead that finds out by itself how many calls a dependency can take.

For the client side of one dependency whose capacity nobody knows, or that changes.
The number of places follows a rule (`AimdLimit`, `VegasLimit`, `GradientLimit`), which
learns from the calls made through the bulkhead. What a call says depends on how it
ended, and there are three answers (the names are those of Netflix's concurrency-limits):

* *sample*: it came back. How long it took counts.
* *dropped*: the dependency is overloaded: the call was cut by its time limit, or failed
  with what `on` counts. The limit goes down.
* *ignored*: it says nothing: the caller went away, its deadline was too short for any
  such call, a guard of ours further down refused it.

Which of the three is decided by the same law as for breakers (`rules.outcomes`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import ParamSpec, Protocol, TypeVar

from backstay.errors import GuardMisuse
from backstay.guard._bulkhead import UNCHANGED, Bulkhead, BulkheadStatistics, Unchanged
from backstay.guard._guard import Mode
from backstay.guard._judgement import On, counts, judge
from backstay.guard.rules.aimd_limit import AimdLimit
from backstay.guard.rules.outcomes import FAIL, NEUTRAL, OK, Outcome
from backstay.guard.rules.queue_delay import INTERVAL_S, TARGET_S
from backstay.guard.rules.running_quantile import RunningQuantile
from backstay.sync._home import read_clock

__all__ = ["AdaptiveBulkhead", "AdaptiveBulkheadStatistics", "AdaptivePermit", "LimitRule"]

P = ParamSpec("P")
T = TypeVar("T")


class LimitRule(Protocol):
    """What moves the limit: one of the rules, or your own."""

    @property
    def limit(self) -> int:
        """How many calls may be in flight now, >= 1."""
        ...

    def sample(self, rtt: float, in_flight: int, dropped: bool, now: float) -> None:
        """Learn from a call that ended; see `AimdLimit.sample`."""
        ...


@dataclass(frozen=True, slots=True)
class AdaptiveBulkheadStatistics(BulkheadStatistics):
    """How an adaptive bulkhead is doing.

    Attributes:
        sampled: calls that came back.
        dropped: calls that said that the dependency is overloaded.
        ignored: calls that said nothing about it.
        usual_s: seconds that half of the calls take; None before one came back.
    """

    sampled: int
    dropped: int
    ignored: int
    usual_s: float | None


class AdaptiveBulkhead(Bulkhead):
    """Lets as many calls in at once as the dependency can take.

    ::

        search = AdaptiveBulkhead(AimdLimit(initial=20), name="search")

        @search
        async def look_up(words: str) -> list[Hit]: ...

    Only calls and `permit()` blocks teach it; ``async with search:`` takes a place and no more.
    Put a deadline around the calls: without one an overloaded dependency makes them longer
    and longer, and nothing is ever dropped.
    """

    __slots__ = ("_counted", "_dropped", "_ignored", "_limit_rule", "_sampled", "_usual")

    def __init__(
        self,
        rule: LimitRule | None = None,
        queue: int | None = None,
        *,
        on: On = TimeoutError,
        name: str = "",
        target: float | None = TARGET_S,
        interval: float = INTERVAL_S,
        max_wait: float | None = None,
        mode: Mode = "enforce",
    ) -> None:
        """Start with all places free.

        Args:
            rule: what moves the limit, for this bulkhead alone; `AimdLimit()` when omitted.
            queue: how many may wait; as many as there are places when omitted.
            on: which errors say that the dependency is overloaded: a class, several, or a
                function of the exception. Other errors are answers.
            name: what it protects, for people; the line that makes it when omitted.
            target: as for `Bulkhead`.
            interval: as for `Bulkhead`.
            max_wait: as for `Bulkhead`.
            mode: as for `Bulkhead`; in shadow mode the rule learns, too.

        Raises:
            ValueError: a number is out of range.
            TypeError: `on` is nothing of what it can be.
        """
        self._limit_rule: LimitRule = AimdLimit() if rule is None else rule
        super().__init__(
            self._limit_rule.limit,
            queue,
            name=name,
            target=target,
            interval=interval,
            max_wait=max_wait,
            mode=mode,
        )
        self._counted = counts(on)
        self._usual = RunningQuantile()
        self._sampled = self._dropped = self._ignored = 0

    # -- around a block or a call ----------------------------------------------------

    def permit(self) -> AdaptivePermit:
        """Return a block that takes a place, and that the rule learns from."""
        return AdaptivePermit(self)

    async def call(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `fn` in a place, and learn from how it ends.

        Raises:
            FullError: there is none, and the line is full or was too slow.
        """
        if self._free > 0:
            self._free -= 1
        else:
            await self.acquire()
        in_flight = self._n - self._free
        began = read_clock.read()
        try:
            result = await fn(*args, **kwargs)
        except BaseException as error:
            self._ended(error, began, in_flight)
            raise
        self._ended(None, began, in_flight)
        return result

    def judge(self, error: BaseException, elapsed: float, now: float) -> Outcome:
        """Say what a call that ended with `error` says about the dependency."""
        return judge(error, elapsed, self._usual.seconds, None, self._counted, now)

    def learn(self, outcome: Outcome, now: float, rtt: float, in_flight: int) -> None:
        """Let the rule learn from a call that has ended; its place is not given back by this.

        Args:
            outcome: what it says about the dependency.
            now: seconds on the clock of `backstay.now()`.
            rtt: seconds that it took.
            in_flight: how many calls were in with it, itself included.
        """
        if outcome == NEUTRAL:
            self._ignored += 1
            return
        dropped = outcome == FAIL
        if dropped:
            self._dropped += 1
        else:
            self._sampled += 1
            self._usual.add(rtt)
        rule = self._limit_rule
        rule.sample(rtt, in_flight, dropped, now)
        limit = rule.limit
        if limit != self._n:
            self._resize(limit)

    def _ended(self, error: BaseException | None, began: float, in_flight: int) -> None:
        """Learn from a call, and give its place back."""
        try:
            now = read_clock.read()
            outcome = OK if error is None else self.judge(error, now - began, now)
            self.learn(outcome, now, now - began, in_flight)
        finally:
            self.release()

    # -- looking after it ------------------------------------------------------------

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
        """Change settings of the line while it works; see `Bulkhead.update`.

        Raises:
            GuardMisuse: `n` is given: that is for the rule to decide.
            ValueError: a number is out of range; nothing has changed.
        """
        if n is not None:
            raise GuardMisuse(
                f"{self._title()} finds its number of places by itself, so it cannot be set to "
                f"{n}: use a plain Bulkhead, or a rule with other bounds"
            )
        super().update(queue=queue, target=target, interval=interval, max_wait=max_wait, mode=mode)

    def statistics(self) -> AdaptiveBulkheadStatistics:
        """Return how it is doing."""
        plain = super().statistics()
        return AdaptiveBulkheadStatistics(
            **{name: getattr(plain, name) for name in plain.__slots__},
            sampled=self._sampled,
            dropped=self._dropped,
            ignored=self._ignored,
            usual_s=self._usual.seconds,
        )


class AdaptivePermit:
    """A place as a block from which the rule learns; made by `AdaptiveBulkhead.permit`."""

    __slots__ = ("_began", "_bulkhead", "_in_flight")

    def __init__(self, bulkhead: AdaptiveBulkhead) -> None:
        """Remember of what; nothing is taken yet."""
        self._bulkhead = bulkhead
        self._began = 0.0
        self._in_flight = 0

    async def __aenter__(self) -> None:
        """Take the place, and start the clock."""
        bulkhead = self._bulkhead
        await bulkhead.acquire()
        self._in_flight = bulkhead.in_flight
        self._began = read_clock.read()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Learn from the block, and give the place back."""
        self._bulkhead._ended(error, self._began, self._in_flight)
