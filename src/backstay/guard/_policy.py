"""`Policy`: several guards around one dependency, in the one right order, in one frame.

From the outside in::

    fallback > callers > deadline > retry > hedge > breaker, throttle > rate > bulkhead > attempt > the call

Why this order and no other:

* Retry stands outside of breaker and throttle, so that every attempt is judged, and
  a rejection is retried only where its `retry_after` fits the time that is left.
* Breaker and throttle stand before rate and bulkhead, so that a call they refuse burns
  no permit; what a later guard refuses is given back to the earlier ones, a probe of
  the breaker included.
* Rate stands before the bulkhead, so that nobody sleeps while holding a place.
* The clock of an attempt starts when it has its place, so that our own queue is never
  blamed on the dependency.

.NET's standard handler (total timeout > retry > breaker > attempt timeout) and resilience4j
(retry > breaker > rate > time > bulkhead) agree, except that .NET bounds callers where we
bound work: `max_callers` does that here.

One frame: a stack of decorators costs a coroutine for each, which is more than the guards
themselves. The happy path of all of them is therefore written out in `Policy.call` and in
`AttemptGuards`; what happens to few calls stands in methods beside it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar, cast

from backstay import context as ambient
from backstay.errors import DeadlineExceeded, FullError, GuardMisuse, Rejected
from backstay.guard._attempt_guards import AnyRate, AttemptGuards, Give, Probe, Take, Wait
from backstay.guard._breaker import Breaker
from backstay.guard._bulkhead import Bulkhead
from backstay.guard._call_around import call_around
from backstay.guard._fallback import Fallback
from backstay.guard._guard import Guard, Mode, unlist
from backstay.guard._hedge import Hedge
from backstay.guard._judgement import counts, judge
from backstay.guard._policy_permit import PolicyPermit
from backstay.guard._policy_statistics import SAMPLED, PolicyCounts, PolicyStatistics
from backstay.guard._retry import Retry, in_short
from backstay.guard._throttle import Throttle
from backstay.guard.rules.outcomes import FAIL, NEUTRAL, OK, Outcome
from backstay.sync._home import read_clock
from backstay.sync._wake_queue import here
from backstay.tasks import Limits, TimeLimit, limits_of

__all__ = ["Policy"]

P = ParamSpec("P")
T = TypeVar("T")


class Policy(Guard):
    """Guards around one dependency.

    ::

        payments = Policy(
            "payments",
            deadline=2.0,
            attempt=0.5,
            retry=Retry(3),
            throttle=Throttle(),
            rate=Rate(200, burst=20),
            bulkhead=Bulkhead(32),
        )

        @payments
        async def charge(order: Order) -> Receipt: ...

        receipt = await payments.call(client.charge, order)

    Each part is optional, works alone, too, and may be part of several policies.

    Cancelled: whatever the call had taken (a permit, a place, a probe) is given back, and
    the dependency is not blamed, unless it was a deadline that cut a call which had lasted
    as long as such calls usually take.

    Cost: with deadline, throttle, rate, bulkhead and retry less than 25 bare awaits
    (`benchmarks/guard_policy.py`).
    """

    __slots__ = (
        "_attempt_name",
        "_attempt_s",
        "_counted",
        "_counts",
        "_deadline_s",
        "_fallback",
        "_give",
        "_guards",
        "_hedge",
        "_home",
        "_is_bounded",
        "_is_plain",
        "_limits",
        "_max_callers",
        "_retries",
        "_retry",
        "_single",
        "_take",
    )

    _limits: Limits  # of the loop in which it was last used; unset before
    _deadline_s: Any  # seconds, or None: `typing.cast` on the hot path would cost a call

    kind = "policy"
    _kind = "policy"

    def __init__(
        self,
        name: str,
        *,
        deadline: float | None = None,
        attempt: float | None = None,
        retry: Retry | None = None,
        hedge: Hedge | None = None,
        breaker: Breaker | None = None,
        throttle: Throttle | None = None,
        rate: AnyRate | None = None,
        bulkhead: Bulkhead | None = None,
        fallback: Fallback[Any] | None = None,
        max_callers: int | None = None,
        mode: Mode = "enforce",
    ) -> None:
        """Put guards around a dependency; the order is fixed, see the top of the file.

        Args:
            name: of the dependency, for people and metrics.
            deadline: seconds for a call, waits, attempts and pauses between them included.
            attempt: seconds for one attempt, from when it has its place.
            retry: which failures are tried again, and when.
            hedge: when a second attempt is started beside a slow one.
            breaker: stops calling a dependency that fails or is slow.
            throttle: calls a dependency that fails as often as it can serve.
            rate: how many calls a second: a `Rate`, or a `SharedRate` for all processes.
            bulkhead: how many calls at a time.
            fallback: what is answered when all else has failed.
            max_callers: calls at a time, those that wait for a guard included.
            mode: "shadow" refuses nobody because of `max_callers`; each part has a mode
                of its own.

        Raises:
            ValueError: a time or a number is out of range.
        """
        super().__init__(name, mode)
        self._deadline_s = _seconds("deadline", deadline)
        self._attempt_s = _seconds("attempt", attempt)
        if max_callers is not None and max_callers < 1:
            raise ValueError(f"max_callers is at least 1, not {max_callers!r}")
        self._max_callers = max_callers
        self._retry = retry
        self._hedge = hedge
        self._fallback = fallback
        # With a hedge each attempt is a call of its own: the guards of attempts stand inside.
        self._single: Policy | None = None
        if hedge is not None:
            self._single = Policy(
                name,
                attempt=attempt,
                breaker=breaker,
                throttle=throttle,
                rate=rate,
                bulkhead=bulkhead,
            )
            unlist(self._single)
            breaker = throttle = rate = bulkhead = None
            self._attempt_s = attempt = None
        if attempt is not None:
            for judge_ in (breaker, throttle):
                if judge_ is not None:
                    judge_.slow_from(0.8 * attempt)
        guards = self._guards = AttemptGuards(throttle, breaker, rate, bulkhead)
        # Without any, an attempt is spared two calls.
        self._take: Take | None = guards.take if guards.parts else None
        self._give: Give | None = guards.give if guards.parts else None
        self._retries = None if retry is None else retry.budget.rule
        self._is_bounded = not (deadline is None and max_callers is None)
        self._counted = counts(Exception)
        self._counts = PolicyCounts()
        self._attempt_name = f"{name} attempt"
        self._is_plain = self._attempt_s is None and hedge is None  # an attempt is just the call
        self._home: object = None

    # -- calling -----------------------------------------------------------------

    def __call__(self, fn: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        """Guard an async function; signature and types stay.

        ::

            @payments
            async def charge(order: Order) -> Receipt: ...
        """
        return call_around(self.call, fn)

    async def call(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `fn(*args, **kwargs)` within all guards.

        Raises:
            Rejected: a guard said no; `reason`, `policy` and `retry_after` say which and when.
            DeadlineExceeded: time ran out; `scope` is this policy's name, or that of whoever
                around it had set an earlier deadline.
            Exception: what `fn` raised, of the last attempt.

        Cancelled: everything is given back; see the class.
        """
        now = began = read_clock.read()
        counted = self._counts
        counted.in_flight += 1
        limit: TimeLimit | None = None
        earlier: list[str] | None = None
        take, give = self._take, self._give
        work: Callable[..., Awaitable[T]] = fn
        try:
            if self._is_bounded:
                if here() == self._home:
                    limit = self._limits.try_begin(self._name, self._deadline_s, now)
                if limit is None:
                    limit = self._enter(now)
            if self._retries is not None:
                self._retries.calls += 1
            while True:
                probe, holds = None, False
                try:
                    if take is not None:
                        probe = take(now)
                        if type(probe) is Wait:
                            probe = await self._guards.wait(probe)
                            now = read_clock.read()
                    holds = True
                    if not self._is_plain:
                        result = await self._attempt(fn, args, kwargs, now)
                    else:  # an empty `**kwargs` costs a third of a bare await
                        result = await (work(*args, **kwargs) if kwargs else work(*args))
                except BaseException as error:
                    earlier = earlier or []
                    pause = self._attempt_ended(error, holds, now, probe, limit, earlier)
                    if pause is None:
                        raise
                else:
                    ended = read_clock.read()
                    if give is not None:
                        give(probe, ended, ended - now)
                    break
                await asyncio.sleep(pause)
                now = read_clock.read()
            if limit is not None and limit.close():
                struck, limit = limit, None
                await struck.settle(None)
        except BaseException as error:
            return cast("T", await self._ended(error, limit, earlier, args, kwargs))
        finally:
            counted.in_flight -= 1
        counted.returned = returned = counted.returned + 1
        if not returned & SAMPLED:
            counted.took.record(ended - began)
        if earlier or self._fallback is not None:
            self._ended_well(result, earlier, args, kwargs)
        return result

    def permit(self) -> PolicyPermit:
        """Return the guards as a block, for work that is no single call.

        ::

            async with payments.permit() as permit:
                await client.charge(order, timeout=permit.remaining())

        A block cannot be run again: retry, hedge and fallback have no part in it.

        Raises:
            Rejected: from `async with`, as `call`.
        """
        return PolicyPermit(self)

    async def take_all(self, permit: PolicyPermit) -> None:
        """Take what a call needs, for a permit.

        Raises:
            Rejected: a guard said no; `give_all` must follow all the same.
        """
        guards = (self._single or self)._guards
        self._counts.in_flight += 1
        permit.limit = self._enter(permit.began)
        probe = guards.take(permit.began)
        permit.probe = await guards.wait(probe) if isinstance(probe, Wait) else probe
        permit.started = read_clock.read()
        permit.holds = True

    def give_all(self, permit: PolicyPermit, error: BaseException | None) -> None:
        """Give back what a permit holds, and let the guards learn from how its block ended."""
        now = read_clock.read()
        self._counts.in_flight -= 1
        if permit.holds:
            (self._single or self).settle(error, permit.started, now, permit.probe)
        outcome = OK if error is None else self._outcome(error)
        limit = permit.limit
        if limit is not None:
            limit.close()
        if error is None:
            if self._single is not None:  # whose attempts are the policy's
                self._single._counts.attempts += 1
            self._counts.returned += 1
            self._counts.took.record(now - permit.began)
        else:
            self._count(outcome, error if limit is None else limit.fired or error)

    async def _attempt(
        self, fn: Callable[..., Awaitable[T]], args: Any, kwargs: Any, now: float
    ) -> T:
        """One attempt that has a time of its own, or several at once."""
        single, hedge = self._single, self._hedge
        if single is not None and hedge is not None:
            return await hedge.run(lambda: single.call(fn, *args, **kwargs))
        assert self._attempt_s is not None
        limit = self._limit(self._attempt_name, self._attempt_s, now)
        try:
            result = await fn(*args, **kwargs)
        except BaseException as error:
            if limit.close():
                await limit.settle(error)
            raise
        if limit.close():
            await limit.settle(None)
        return result

    def _enter(self, now: float) -> TimeLimit | None:
        """Bound the callers and the time of a call, where either is bounded."""
        if self._max_callers is not None and self._counts.in_flight > self._max_callers:
            self._refuse_caller()
        if self._deadline_s is None:
            return None
        return self._limit(self._name, self._deadline_s, now)

    # -- what happens to few calls -----------------------------------------------

    def _limit(self, setter: str, seconds: float, now: float) -> TimeLimit:
        """Start the clock of a call or an attempt in the running loop."""
        self._limits = limits_of(self._move_in())
        if self._max_callers is None and self._deadline_s is not None:
            self._home = here()
        return self._limits.begin(setter, seconds, now)

    def _refuse_caller(self) -> None:
        self.refuse(
            FullError(
                f"policy {self._name!r} has {self._max_callers} callers already: "
                f"try again later, or raise max_callers",
                policy=self._name,
            )
        )

    def _attempt_ended(
        self,
        error: BaseException,
        holds: bool,
        began: float,
        probe: Probe,
        limit: TimeLimit | None,
        earlier: list[str],
    ) -> float | None:
        """Give back what an attempt had taken, let the guards learn, and decide whether to go on.

        Args:
            error: what it ended with.
            holds: whether it held its guards, so that the dependency was called.
            began: when it got them.
            probe: of the breaker.
            limit: the call's deadline.
            earlier: the errors of earlier attempts, in short; this one is added to them when
                there is a next one.

        Returns:
            Seconds until the next attempt; None when there is none.
        """
        now = read_clock.read()
        if holds:
            self.settle(error, began, now, probe)
        retry = self._retry
        if retry is None:
            return None
        left = ambient.remaining() if limit is None else max(0.0, limit.deadline - now)
        pause = retry.pause_before(len(earlier) + 2, error, now, left)
        if pause is not None:
            earlier.append(in_short(error))
        return pause

    def settle(self, error: BaseException | None, began: float, now: float, probe: Probe) -> None:
        """Give back what an attempt held, and let the guards learn from it; also for permits."""
        if error is None:
            self._guards.give(probe, now, now - began)
            return
        self._counts.attempts += 1
        cut = isinstance(error, DeadlineExceeded) and error.scope == self._attempt_name
        self._guards.fail(error, probe, now, now - began, cut=cut)

    def _ended_well(self, result: Any, earlier: list[str] | None, args: Any, kwargs: Any) -> None:
        if earlier and self._retry is not None:
            self._retry.budget.ended(len(earlier))
            self._retry.recovered()
        if self._fallback is not None:
            self._fallback.remember(result, args, kwargs)

    async def _ended(
        self,
        error: BaseException,
        limit: TimeLimit | None,
        earlier: list[str] | None,
        args: Any,
        kwargs: Any,
    ) -> Any:
        """Leave a call that failed: settle its deadline, count it, and fall back if there is where to."""
        if earlier and self._retry is not None:
            self._retry.budget.ended(len(earlier))
            self._retry.tell_of(earlier, error)
        outcome = self._outcome(error)
        if limit is not None and limit.close():
            try:
                await limit.settle(error)
            except BaseException as settled:
                error = settled
        self._count(outcome, error)
        if self._fallback is not None and isinstance(error, Exception):
            answer = await self._fallback.answer(error, args, kwargs)
            self._counts.fell_back += 1
            return answer
        raise error

    def _outcome(self, error: BaseException) -> Outcome:
        """Judge the whole call; called before its deadline is closed."""
        return judge(error, 0.0, None, None, self._counted, read_clock.read())

    def _count(self, outcome: Outcome, error: BaseException) -> None:
        counted = self._counts
        if isinstance(error, Rejected):
            counted.rejected[error.reason] = counted.rejected.get(error.reason, 0) + 1
        elif outcome == FAIL or isinstance(error, DeadlineExceeded):
            counted.failed += 1
        elif outcome == NEUTRAL:
            counted.neutral += 1
        else:
            counted.ok_late += 1

    # -- looking after it ------------------------------------------------------------

    @property
    def parts(self) -> tuple[Guard, ...]:
        """The guards in it, from the outside in."""
        inner = self._single or self
        around = tuple(g for g in (self._fallback, self._retry, self._hedge) if g is not None)
        return around + inner._guards.parts

    def update(
        self,
        *,
        deadline: float | None = None,
        attempt: float | None = None,
        max_callers: int | None = None,
        mode: Mode | None = None,
    ) -> None:
        """Change settings while it works; the parts have an `update` each.

        Raises:
            ValueError: a number is out of range; nothing has changed.
        """
        deadline, attempt = _seconds("deadline", deadline), _seconds("attempt", attempt)
        if max_callers is not None and max_callers < 1:
            raise ValueError(f"max_callers is at least 1, not {max_callers!r}")
        super().update(mode=mode)
        if deadline is not None:
            self._deadline_s = deadline
            self._is_bounded = True
        if attempt is not None:
            inner = self._single or self
            inner._attempt_s = attempt
            inner._is_plain = False
        if max_callers is not None:
            self._max_callers = max_callers
            self._is_bounded = True
            self._home = None

    def force_open(self, why: str = "by hand") -> None:
        """Refuse every call until `reset`.

        Raises:
            GuardMisuse: it has no breaker.
        """
        self._the_breaker().force_open(why)

    def reset(self, why: str = "by hand") -> None:
        """Let the breaker decide again, with nothing counted.

        Raises:
            GuardMisuse: it has no breaker.
        """
        self._the_breaker().reset(why)

    def _the_breaker(self) -> Breaker:
        breaker = (self._single or self)._guards.breaker
        if breaker is None:
            raise GuardMisuse(
                f"policy {self._name!r} has no breaker to force: make it with breaker=Breaker()"
            )
        return breaker

    def statistics(self) -> PolicyStatistics:
        """Return how it is doing; the parts have statistics of their own."""
        inner = self._single or self
        return self._counts.freeze(self._name, inner._counts)

    def _in_use(self) -> bool:
        return self._counts.in_flight > 0

    def _reset(self) -> None:
        self._home = None

    def __repr__(self) -> str:
        """Show the name and what it is made of, from the outside in."""
        words: list[str] = []
        for part in self.parts:
            if part is self._fallback:
                words.insert(0, part.kind)
            else:
                words.append(part.kind)
        if self._deadline_s is not None:
            words.insert(self._fallback is not None, f"deadline {self._deadline_s:g} s")
        attempt = (self._single or self)._attempt_s
        if attempt is not None:
            words.append(f"attempt {attempt:g} s")
        return f"<Policy {self._name!r} {' > '.join(words) or 'without guards'}>"


def _seconds(what: str, value: float | None) -> float | None:
    if value is not None and not value > 0:
        raise ValueError(f"{what} is above 0 seconds, or None, not {value!r}")
    return value
