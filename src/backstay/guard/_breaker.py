"""`Breaker`: stops calling a dependency that fails or hangs, and finds out when it is back."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

from backstay._base import Chance, GuardMoved, guard_moved
from backstay.errors import OpenError
from backstay.guard._call_around import check_async
from backstay.guard._guard import Guard, Mode
from backstay.guard._judged_call import JudgedBlock, judged_call
from backstay.guard._judgement import On, counts, judge
from backstay.guard.rules.breaker_rule import (
    CALLS,
    BreakerRule,
    BreakerSettings,
    BreakerState,
    Ticket,
)
from backstay.guard.rules.outcomes import OK, Outcome
from backstay.sync._home import read_clock

__all__ = ["Breaker", "BreakerStatistics"]

P = ParamSpec("P")
T = TypeVar("T")

# In shadow mode a call that would have been refused goes on; nothing is learned from it.
_SHADOW: Final = -1
# What a call usually takes is learned from each eighth, and from the first of each step.
_SOME: Final = 7


@dataclass(frozen=True, slots=True)
class BreakerStatistics:
    """How a breaker is doing.

    Attributes:
        name: its name.
        state: "closed", "open", "half_open", "forced_open" or "forced_closed".
        calls: calls that ended in the window, and slow ones that are in flight still.
        failed: of these, how many failed.
        slow: of these, how many were slow.
        probing: probes in flight.
        rejected: calls refused so far.
        transitions: how often the state has changed.
        retry_after: seconds until a probe may pass; None when it is not open, or nobody knows.
        usual_s: median seconds of calls that succeeded; None before the first.
    """

    name: str
    state: BreakerState
    calls: int
    failed: int
    slow: int
    probing: int
    rejected: int
    transitions: int
    retry_after: float | None
    usual_s: float | None


class Breaker(Guard):
    """Refuses calls for a while when too many of the last ones failed or were slow.

    ::

        bank = Breaker("bank", slow=0.4)

        @bank
        async def charge(order: Order) -> Receipt: ...

    Errors count by `on`; a caller that leaves blames nobody, and a deadline that cuts a call
    blames the dependency only if the call had lasted as long as calls usually do.

    Cancelled: the call counts as neither good nor bad, unless it was slow by then; a probe's
    place is free again.
    """

    __slots__ = ("_chance", "_counted", "_rule", "_seen")

    kind = "breaker"
    _kind = "breaker"

    def __init__(
        self,
        name: str = "",
        *,
        on: On = Exception,
        failure_rate: float = 0.5,
        slow: float | None = None,
        slow_rate: float = 0.5,
        minimum: int = 20,
        window: float = 10.0,
        open_for: float = 5.0,
        most_open: float = 60.0,
        probes: int = 1,
        lease: float = 30.0,
        seed: float | None = None,
        mode: Mode = "enforce",
    ) -> None:
        """Start closed.

        Args:
            name: of the dependency, for people; the line that makes it when omitted.
            on: which exceptions are failures: a class, several, or a function of the exception.
            failure_rate: share of failed calls from which it opens, in (0, 1].
            slow: seconds from which a call counts as slow; None for no such limit. Within a
                `Policy` with an attempt timeout it is 0.8 of that when omitted.
            slow_rate: share of slow calls from which it opens, in (0, 1].
            minimum: calls in the window before any share is looked at.
            window: seconds over which calls are counted.
            open_for: seconds that it stays open the first time, +-10 %; doubled each time that
                a probe fails.
            most_open: seconds that it stays open at most.
            probes: calls let through at a time while half-open; as many have to succeed.
            lease: seconds after which a probe that has not reported loses its place.
            seed: of the jitter, for runs that must repeat themselves.
            mode: "shadow" counts what it would refuse, and refuses nothing.

        Raises:
            ValueError: a number is out of range.
            TypeError: `on` makes no sense.
        """
        super().__init__(name, mode)
        self._rule = BreakerRule(
            BreakerSettings(
                failure_rate=failure_rate,
                slow=slow,
                slow_rate=slow_rate,
                minimum=minimum,
                window=window,
                open_for=open_for,
                most_open=most_open,
                probes=probes,
                lease=lease,
            )
        )
        self._counted = counts(on)
        self._chance = Chance(seed)
        self._seen: BreakerState = "closed"  # the state that was told to those who listen
        self._rule.dice = self._chance.random()

    @property
    def state(self) -> BreakerState:
        """Its state, as of the last call."""
        return self._rule.state

    # -- around a call -------------------------------------------------------------

    def admit(self, now: float) -> Ticket:
        """Let a call through, or refuse it; `settle` or `release` must follow.

        Raises:
            OpenError: not now.
        """
        rule = self._rule
        if rule.quick:
            return rule.generation
        ticket = rule.admit(now)
        if rule.state is not self._seen:
            self._tell("a probe may pass" if rule.state == "half_open" else "calls hang")
        if ticket is None:
            self.refuse(self._open_error(now))
            return _SHADOW
        return ticket

    def settle(self, ticket: Ticket, outcome: Outcome, now: float, elapsed: float) -> None:
        """Learn from a call that was let through and has ended.

        Args:
            ticket: from `admit`.
            outcome: what it says about the dependency.
            now: seconds on the clock of `backstay.now()`.
            elapsed: seconds that it was in flight.
        """
        rule = self._rule
        if outcome is OK and ticket == rule.generation and rule.quick:
            window = rule.window
            if now < window.until:  # as `rule.settle`, without the calls
                window.newest[CALLS] += 1
                window.totals[CALLS] = count = window.totals[CALLS] + 1
                if not count & _SOME:
                    rule.usual.add(elapsed)
                return
        rule.settle(ticket, outcome, now, elapsed)
        if rule.state is not self._seen:
            self._tell(
                "its probes succeeded" if rule.state == "closed" else f"a call was {outcome}"
            )

    def release(self, ticket: Ticket) -> None:
        """Take back a call that was let through and never made."""
        self._rule.release(ticket)

    def judge(self, error: BaseException, elapsed: float, now: float) -> Outcome:
        """Say what a call that ended with `error` says about the dependency."""
        rule = self._rule
        return judge(error, elapsed, rule.usual.seconds, rule.settings.slow, self._counted, now)

    def usual(self) -> float | None:
        """Return the median seconds of calls that succeeded lately; None before the first."""
        return self._rule.usual.seconds

    def __call__(self, fn: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        """Guard an async function; signature and types stay."""
        check_async(fn)
        work: Callable[..., Awaitable[T]] = fn  # an empty `**kwargs` costs a third of a bare await
        clock, rule, window = read_clock, self._rule, self._rule.window

        @wraps(fn)
        async def broken(*args: P.args, **kwargs: P.kwargs) -> T:
            # `judged_call`, `admit` and `settle` in one frame.
            began = clock.read()
            ticket = rule.generation if rule.quick else self.admit(began)
            try:
                result = await (work(*args, **kwargs) if kwargs else work(*args))
            except BaseException as error:
                now = clock.read()
                self.settle(ticket, self.judge(error, now - began, now), now, now - began)
                raise
            now = clock.read()
            count = window.totals[CALLS] + 1
            if now < window.until and count & _SOME and rule.quick and ticket == rule.generation:
                window.newest[CALLS] += 1
                window.totals[CALLS] = count
            else:
                self.settle(ticket, OK, now, now - began)
            return result

        return broken

    def call(
        self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, T]:
        """Call `fn(*args, **kwargs)`, unless the breaker is open.

        Raises:
            OpenError: it is; `retry_after` tells when a probe may pass.
        """
        return judged_call(self, fn, args, kwargs)

    def permit(self) -> JudgedBlock[Ticket]:
        """Return a block that counts as a call: its error, or its end, is what is learned from."""
        return JudgedBlock(self)

    # -- by hand ---------------------------------------------------------------------

    def force_open(self, why: str = "by hand") -> None:
        """Refuse every call until `reset`."""
        self._rule.force("force_open", read_clock.read())
        self._tell(why)

    def force_close(self, why: str = "by hand") -> None:
        """Let every call through until `reset`."""
        self._rule.force("force_close", read_clock.read())
        self._tell(why)

    def reset(self, why: str = "by hand") -> None:
        """Close, with nothing counted, and decide by itself again."""
        self._rule.force("reset", read_clock.read())
        self._tell(why)

    def update(self, *, mode: Mode | None = None, **settings: Any) -> None:
        """Change settings while it works; the names are those of the constructor.

        Raises:
            ValueError: a number is out of range; nothing has changed.
            TypeError: there is no such setting, or it is `window`, which cannot be changed.
        """
        if "window" in settings:
            raise TypeError("the window of a breaker cannot be changed: make another breaker")
        before = self._rule.settings
        after = dataclasses.replace(before, **settings)
        super().update(mode=mode)
        self._rule.change(after)
        if guard_moved and after != before:
            changed = ", ".join(f"{name}={value!r}" for name, value in settings.items())
            guard_moved.emit(GuardMoved(self.name, self.kind, self.state, self.state, changed))

    def slow_from(self, seconds: float) -> None:
        """Count calls as slow from `seconds` on, unless a limit was given."""
        if self._rule.settings.slow is None:
            self._rule.change(dataclasses.replace(self._rule.settings, slow=seconds))

    def statistics(self) -> BreakerStatistics:
        """Return how it is doing."""
        now = read_clock.read()
        rule = self._rule
        calls, failed, slow = rule.look(now)
        return BreakerStatistics(
            name=self.name,
            state=rule.state,
            calls=calls,
            failed=failed,
            slow=slow,
            probing=rule.probing,
            rejected=self._rejected,
            transitions=rule.generation,
            retry_after=rule.retry_after(now),
            usual_s=rule.usual.seconds,
        )

    def _tell(self, why: str) -> None:
        before, self._seen = self._seen, self._rule.state
        if before == self._seen:
            return
        self._rule.dice = self._chance.random()
        if guard_moved:
            guard_moved.emit(GuardMoved(self.name, self.kind, before, self._seen, why))

    def _open_error(self, now: float) -> OpenError:
        rule = self._rule
        wait = rule.retry_after(now)
        if rule.state == "half_open":
            what = (
                f"is half-open, and {rule.probing} of {rule.settings.probes} probes are under way"
            )
        elif rule.state == "forced_open":
            what = "was opened by hand"
        else:
            what = f"is open: too many calls failed or were slow; a probe may pass in {wait:.3g} s"
        return OpenError(f"breaker {self.name!r} {what}", policy=self.name, retry_after=wait)

    def __repr__(self) -> str:
        """Show the name and the state."""
        return f"<Breaker {self.name!r} {self.state}>"
