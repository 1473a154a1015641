"""The guards that each attempt of a policy passes: throttle, breaker, rate, bulkhead; all or none.

Whoever is refused by a later guard, or goes away while he waits for one, gives back what the
earlier ones had handed out; so there is one thing to know of an attempt: whether it holds its
guards. `take` and `give` are the happy path, made once for the guards that there are; a call
of either is cheaper than looking each guard up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from backstay.guard._adaptive_bulkhead import AdaptiveBulkhead
from backstay.guard._adaptive_rate import AdaptiveRate
from backstay.guard._breaker import Breaker
from backstay.guard._bulkhead import Bulkhead
from backstay.guard._guard import Guard
from backstay.guard._rate import Rate
from backstay.guard._shared_rate import SharedRate
from backstay.guard._throttle import SOME, Throttle
from backstay.guard.rules.outcomes import FAIL, OK, Outcome
from backstay.guard.rules.sre_throttle import ACCEPTED, NOT_ACCEPTED
from backstay.sync._home import read_clock

__all__ = ["AnyRate", "AttemptGuards", "Give", "Probe", "Take", "Wait"]

AnyRate: TypeAlias = "Rate | SharedRate"

Probe: TypeAlias = Any
"""What the breaker handed out; None without a breaker."""


class Wait(NamedTuple):
    """An attempt that cannot go on at once: `AttemptGuards.wait` must follow, before anything else.

    It holds no ticket of the breaker meanwhile: what waits at our own guards is not in flight, and
    its waiting says nothing about the dependency.

    Attributes:
        rated: whether the rate has let it pass, so that it is the bulkhead that has no place.
    """

    rated: bool


Take: TypeAlias = Callable[[float], "Probe | Wait"]
"""Takes all guards, at a time. Raises what the guard that refuses raises; nothing is held then."""

Give: TypeAlias = Callable[[Probe, float, float], None]
"""Ends an attempt that succeeded: its probe, the time, and the seconds it took."""


class AttemptGuards:
    """Throttle, breaker, rate and bulkhead of a policy, each of which may be missing.

    Attributes:
        throttle: refuses by dice, before anything was taken.
        breaker: refuses, or hands out a probe.
        rate: lets pass, or makes wait.
        bulkhead: gives a place, or makes wait.
        take: takes all of them, see `Take`.
        give: gives all of them back after a success, see `Give`.
    """

    __slots__ = ("breaker", "bulkhead", "give", "rate", "take", "throttle")

    def __init__(
        self,
        throttle: Throttle | None,
        breaker: Breaker | None,
        rate: AnyRate | None,
        bulkhead: Bulkhead | None,
    ) -> None:
        """Put them in order."""
        self.throttle = throttle
        self.breaker = breaker
        self.rate = rate
        self.bulkhead = bulkhead
        self.take = self._taker()
        self.give = self._giver()

    @property
    def parts(self) -> tuple[Guard, ...]:
        """Those that there are, from the outside in."""
        four = self.throttle, self.breaker, self.rate, self.bulkhead
        return tuple(guard for guard in four if guard is not None)

    def _taker(self) -> Take:
        throttle, breaker, bulkhead = self.throttle, self.breaker, self.bulkhead
        own = self.rate if type(self.rate) is Rate else None
        other = None if own is not None else self.rate  # one that is shared, or adapts
        undo = self._undo

        def take(now: float) -> Probe | Wait:
            if throttle is not None:
                rule = throttle._rule
                window = rule.window
                if (
                    window.totals[NOT_ACCEPTED] + rule.in_flight < rule.minimum
                    and now < window.until
                ):
                    rule.in_flight += 1  # as `throttle.admit`, without the call
                else:
                    throttle.admit(now)
            probe: Probe = None
            rated: AnyRate | None = None
            try:
                if breaker is not None:
                    probe = breaker.admit(now)
                if own is not None:
                    gcra = own._rule
                    due = gcra.due
                    if due < now:
                        due = now
                    if own._timer is not None or due - now > gcra.spare:
                        return self._waiting(probe, rated=False)
                    gcra.due = due + gcra.unit
                    own._granted += 1.0
                    rated = own
                elif other is not None:
                    if not other.take(now):
                        return self._waiting(probe, rated=False)
                    rated = other
                if bulkhead is not None:
                    if bulkhead._free <= 0:
                        return self._waiting(probe, rated=True)
                    bulkhead._free -= 1
            except BaseException:
                undo(probe, rated)
                raise
            return probe

        return take

    def _waiting(self, probe: Probe, *, rated: bool) -> Wait:
        """Turn an attempt that cannot go on into one that waits."""
        if self.breaker is not None:
            self.breaker.release(probe)
        return Wait(rated)

    async def wait(self, wait: Wait) -> Probe:
        """Wait for what `take` could not have at once; return the probe.

        Raises:
            Rejected: a guard said no, perhaps the breaker, which has opened meanwhile; nothing is held.

        Cancelled: nothing is held.
        """
        rated = self.rate if wait.rated else None
        placed: Bulkhead | None = None
        try:
            if self.rate is not None and not wait.rated:
                await self.rate.acquire()
            rated = self.rate
            if self.bulkhead is not None and not self.bulkhead.take():
                await self.bulkhead.acquire()
            placed = self.bulkhead
            return None if self.breaker is None else self.breaker.admit(read_clock.read())
        except BaseException:
            if placed is not None:
                placed.release()
            self._undo(None, rated)
            raise

    def _undo(self, probe: Probe, rated: AnyRate | None) -> None:
        """Give back what was taken by an attempt that was never made.

        Args:
            probe: of the breaker; None when it handed none out.
            rated: the rate, if it had let the attempt pass.
        """
        if rated is not None:
            rated.give_back()
        if self.throttle is not None:
            self.throttle.release(True)
        if self.breaker is not None and probe is not None:
            self.breaker.release(probe)

    def _giver(self) -> Give:
        throttle, breaker, bulkhead = self.throttle, self.breaker, self.bulkhead
        adaptive = bulkhead if isinstance(bulkhead, AdaptiveBulkhead) else None
        following = self.rate if isinstance(self.rate, AdaptiveRate) else None

        def give(probe: Probe, now: float, elapsed: float) -> None:
            in_flight = 0 if adaptive is None else adaptive.in_flight
            if bulkhead is not None:
                free = bulkhead._free
                if bulkhead._queued or free >= bulkhead._n:
                    bulkhead.release()
                else:
                    bulkhead._free = free + 1
            if throttle is not None:
                rule = throttle._rule
                window = rule.window
                count = window.totals[ACCEPTED] + 1
                if now < window.until and count & SOME:
                    rule.in_flight -= 1
                    window.newest[ACCEPTED] += 1
                    window.totals[ACCEPTED] = count
                else:
                    throttle.settle(True, OK, now, elapsed)
            if breaker is not None:
                breaker.settle(probe, OK, now, elapsed)
            # Last, as rules may be somebody else's code: all is given back, whatever they do.
            if following is not None:
                following.learn(OK, now, elapsed)
            if adaptive is not None:
                adaptive.learn(OK, now, elapsed, in_flight)

        return give

    def fail(
        self, error: BaseException, probe: Probe, now: float, elapsed: float, *, cut: bool
    ) -> None:
        """Give back what an attempt had that failed, and let the guards learn from it.

        Args:
            error: what it ended with.
            probe: of the breaker.
            now: seconds on the clock of `backstay.now()`.
            elapsed: seconds that it took.
            cut: whether it was the policy's own time limit for an attempt that ended it.
        """
        outcome: Outcome
        bulkhead, rate = self.bulkhead, self.rate
        in_flight = 0 if bulkhead is None else bulkhead.in_flight
        if bulkhead is not None:
            bulkhead.release()
        for judge, ticket in ((self.throttle, True), (self.breaker, probe)):
            if judge is not None:
                outcome = FAIL if cut else judge.judge(error, elapsed, now)
                judge.settle(ticket, outcome, now, elapsed)
        if isinstance(rate, AdaptiveRate):
            rate.learn(FAIL if cut else rate.judge(error, elapsed, now), now, elapsed)
        if isinstance(bulkhead, AdaptiveBulkhead):
            outcome = FAIL if cut else bulkhead.judge(error, elapsed, now)
            bulkhead.learn(outcome, now, elapsed, in_flight)
