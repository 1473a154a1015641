"""`Throttle`: sends a dependency what it can serve and a little more, without states to get stuck in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

from backstay._base import Chance
from backstay.errors import OpenError
from backstay.guard._call_around import check_async
from backstay.guard._guard import Guard, Mode
from backstay.guard._judged_call import JudgedBlock, judged_call
from backstay.guard._judgement import On, counts, judge
from backstay.guard.rules.outcomes import FAIL, OK, Outcome
from backstay.guard.rules.running_quantile import RunningQuantile
from backstay.guard.rules.sre_throttle import ACCEPTED, NOT_ACCEPTED, SreThrottle
from backstay.sync._home import read_clock

__all__ = ["SOME", "Throttle", "ThrottleStatistics"]

P = ParamSpec("P")
T = TypeVar("T")

_PASSED: Final = True
# What a call usually takes is learned from each eighth, and from the first of each window.
SOME: Final = 7


@dataclass(frozen=True, slots=True)
class ThrottleStatistics:
    """How a throttle is doing.

    Attributes:
        name: its name.
        requests: calls asked for in the window, refused ones included.
        accepts: of these, how many the dependency answered.
        probability: with which the next call is refused.
        rejected: calls refused so far.
        usual_s: median seconds of calls that succeeded; None before the first.
    """

    name: str
    requests: int
    accepts: int
    probability: float
    rejected: int
    usual_s: float | None


class Throttle(Guard):
    """Refuses calls at random, the more of them the fewer the dependency answers.

    ::

        search = Throttle("search")

        @search
        async def find(text: str) -> list[Hit]: ...

    Where a breaker is open or closed, a throttle finds the middle: a dependency that can
    serve half of the load gets three quarters of it, and not everything and nothing in turn.

    Cancelled: the call counts as not asked for, unless it had lasted as long as calls
    usually do and a deadline cut it.
    """

    __slots__ = ("_chance", "_counted", "_rule", "_slow", "_usual")

    kind = "throttle"
    _kind = "throttle"

    def __init__(
        self,
        name: str = "",
        *,
        k: float = 1.5,
        on: On = Exception,
        minimum: int = 20,
        most: float = 0.95,
        every: float = 1.0,
        window: float = 10.0,
        seed: float | None = None,
        mode: Mode = "enforce",
    ) -> None:
        """Start with an empty window.

        Args:
            name: of the dependency, for people; the line that makes it when omitted.
            k: calls sent for each that is answered, > 1; lower refuses sooner.
            on: which exceptions are failures: a class, several, or a function of the exception.
            minimum: calls in the window that are let through whatever happens.
            most: the highest probability with which a call is refused, < 1.
            every: seconds after which one call passes in any case.
            window: seconds over which calls are counted.
            seed: of the dice, for runs that must repeat themselves.
            mode: "shadow" counts what it would refuse, and refuses nothing.

        Raises:
            ValueError: a number is out of range.
            TypeError: `on` makes no sense.
        """
        super().__init__(name, mode)
        self._rule = SreThrottle(k, minimum=minimum, most=most, every=every, span=window)
        self._counted = counts(on)
        self._chance = Chance(seed)
        self._usual = RunningQuantile()
        self._slow: float | None = None

    # -- around a call -------------------------------------------------------------

    def admit(self, now: float) -> bool:
        """Let a call through, or refuse it; `settle` or `release` must follow.

        Raises:
            OpenError: not this one.
        """
        rule = self._rule
        window = rule.window
        # Fewer than the minimum are not answered, or not yet: then whatever was is enough.
        if window.totals[NOT_ACCEPTED] + rule.in_flight >= rule.minimum or now >= window.until:
            probability = rule.ask(now)
            if probability and self._chance.random() < probability:
                rule.refused(now)
                self.refuse(self._open_error(probability))
        rule.in_flight += 1
        return _PASSED

    def settle(self, ticket: bool, outcome: Outcome, now: float, elapsed: float) -> None:
        """Learn from a call that was let through and has ended; see `Breaker.settle`."""
        if outcome is OK:
            rule = self._rule
            window = rule.window
            if now < window.until:  # as `accepted`, without the calls
                rule.in_flight -= 1
                window.newest[ACCEPTED] += 1
                window.totals[ACCEPTED] = count = window.totals[ACCEPTED] + 1
                if count & SOME:
                    return
            else:
                rule.accepted(now)
            self._usual.add(elapsed)
        elif outcome == FAIL:
            self._rule.failed(now)
        else:
            self._rule.in_flight -= 1

    def release(self, ticket: bool) -> None:
        """Take back a call that was let through and never made."""
        self._rule.in_flight -= 1

    def judge(self, error: BaseException, elapsed: float, now: float) -> Outcome:
        """Say what a call that ended with `error` says about the dependency."""
        return judge(error, elapsed, self._usual.seconds, self._slow, self._counted, now)

    def usual(self) -> float | None:
        """Return the median seconds of calls that succeeded lately; None before the first."""
        return self._usual.seconds

    def slow_from(self, seconds: float) -> None:
        """While no call has succeeded yet, hold a cut against the dependency from `seconds` on."""
        if self._slow is None:
            self._slow = seconds

    def __call__(self, fn: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        """Guard an async function; signature and types stay."""
        check_async(fn)
        work: Callable[..., Awaitable[T]] = fn  # an empty `**kwargs` costs a third of a bare await
        clock, rule, window = read_clock, self._rule, self._rule.window

        @wraps(fn)
        async def throttled(*args: P.args, **kwargs: P.kwargs) -> T:
            # `judged_call`, `admit` and `settle` in one frame.
            began = clock.read()
            if window.totals[NOT_ACCEPTED] + rule.in_flight < rule.minimum and began < window.until:
                rule.in_flight += 1
            else:
                self.admit(began)
            try:
                result = await (work(*args, **kwargs) if kwargs else work(*args))
            except BaseException as error:
                now = clock.read()
                self.settle(_PASSED, self.judge(error, now - began, now), now, now - began)
                raise
            now = clock.read()
            count = window.totals[ACCEPTED] + 1
            if now < window.until and count & SOME:
                rule.in_flight -= 1
                window.newest[ACCEPTED] += 1
                window.totals[ACCEPTED] = count
            else:
                self.settle(_PASSED, OK, now, now - began)
            return result

        return throttled

    def call(
        self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, T]:
        """Call `fn(*args, **kwargs)`, unless the dice say no.

        Raises:
            OpenError: they do.
        """
        return judged_call(self, fn, args, kwargs)

    def permit(self) -> JudgedBlock[bool]:
        """Return a block that counts as a call: its error, or its end, is what is learned from."""
        return JudgedBlock(self)

    # -- looking after it ------------------------------------------------------------

    def update(
        self,
        *,
        k: float | None = None,
        minimum: int | None = None,
        most: float | None = None,
        every: float | None = None,
        mode: Mode | None = None,
    ) -> None:
        """Change settings while it works.

        Raises:
            ValueError: a number is out of range; nothing has changed.
        """
        rule = self._rule
        new = SreThrottle(  # checks the numbers
            rule.k if k is None else k,
            minimum=rule.minimum if minimum is None else minimum,
            most=rule.most if most is None else most,
            every=rule.every if every is None else every,
        )
        super().update(mode=mode)
        rule.k, rule.minimum, rule.most, rule.every = new.k, new.minimum, new.most, new.every

    def statistics(self) -> ThrottleStatistics:
        """Return how it is doing."""
        now = read_clock.read()
        requests, accepts = self._rule.counts(now)
        return ThrottleStatistics(
            name=self.name,
            requests=requests,
            accepts=accepts,
            probability=self._rule.probability(now),
            rejected=self._rejected,
            usual_s=self._usual.seconds,
        )

    def _open_error(self, probability: float) -> OpenError:
        return OpenError(
            f"throttle {self.name!r} sends on what its dependency can serve: "
            f"{probability:.0%} of the calls are refused at present",
            policy=self.name,
            retry_after=self._rule.every,
        )

    def __repr__(self) -> str:
        """Show the name and how much is refused."""
        return f"<Throttle {self.name!r} refuses {self._rule.probability(read_clock.read()):.0%}>"
