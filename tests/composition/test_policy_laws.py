"""A policy from outside: whatever it is made of and whatever its calls do, the law of outcomes holds.

Every useful combination of parts is drawn, and a day of its life: calls that succeed, fail,
answer with an error, hang, are cut by a deadline, or whose caller leaves. Of each attempt the
dependency itself keeps the account, and the guards must agree with it in the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from backstay import timeout
from backstay.errors import DeadlineExceeded, Rejected, ShedError
from backstay.guard import (
    Breaker,
    Bulkhead,
    Fallback,
    Hedge,
    Policy,
    Rate,
    Retry,
    Throttle,
)
from backstay.testing import run_virtual

N = 2  # places of the bulkhead

Kind = Literal["ok", "trouble", "answer", "refusal"]


class Trouble(ConnectionError):
    """The dependency fails."""


class Answer(LookupError):
    """The dependency works, and says no."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a policy is made of."""

    deadline: float | None = None
    attempt: float | None = None
    retry: bool = False
    hedge: bool = False
    breaker: bool = False
    throttle: bool = False
    rate: bool = False
    bulkhead: bool = False
    fallback: bool = False
    max_callers: int | None = None
    opens: bool = False

    def build(self) -> Policy:
        """Make it; a breaker that is not to open only counts, so that its account can be compared."""
        return Policy(
            "p",
            deadline=self.deadline,
            attempt=self.attempt,
            retry=Retry(3, seed=1) if self.retry else None,
            hedge=Hedge(0.111) if self.hedge else None,
            breaker=self._breaker() if self.breaker else None,
            throttle=Throttle(minimum=10_000, seed=1) if self.throttle else None,
            rate=Rate(20, burst=2) if self.rate else None,
            bulkhead=Bulkhead(N, queue=2) if self.bulkhead else None,
            fallback=Fallback(value="instead", on=(Trouble, Rejected, TimeoutError))
            if self.fallback
            else None,
            max_callers=self.max_callers,
        )

    def _breaker(self) -> Breaker:
        if self.opens:
            return Breaker(on=Trouble, minimum=2, slow=0.05, open_for=0.02, lease=0.5, seed=1)
        return Breaker(on=Trouble, minimum=10_000, window=10_000, seed=1)


@dataclass(frozen=True)
class Call:
    """What becomes of one call: each attempt ends as the next of `attempts`, the last for ever."""

    at: float
    attempts: tuple[tuple[Kind, float], ...]
    leaves: float | None = None  # the caller, so long after `at`
    within: float | None = None  # a deadline of the caller
    block: bool = False  # permit() in place of call()


@dataclass
class Ledger:
    """What the dependency saw."""

    started: int = 0
    live: int = 0
    most: int = 0
    good: int = 0
    bad: int = 0
    refused: int = 0
    cut: int = 0

    def dependency(self, call: Call) -> Callable[[], Awaitable[str]]:
        """Return the function that is guarded."""
        plans = list(call.attempts)

        async def work() -> str:
            kind, lasts = plans.pop(0) if len(plans) > 1 else plans[0]
            self.started += 1
            self.live += 1
            self.most = max(self.most, self.live)
            try:
                await asyncio.sleep(lasts)
            except asyncio.CancelledError:
                self.cut += 1
                raise
            finally:
                self.live -= 1
            return self.ends(kind)

        return work

    def ends(self, kind: Kind) -> str:
        """Count how an attempt ended that nobody cut."""
        if kind == "trouble":
            self.bad += 1
            raise Trouble
        if kind == "refusal":
            self.refused += 1
            raise ShedError("downstream", policy="downstream", retry_after=None)
        self.good += 1
        if kind == "answer":
            raise Answer
        return "ok"


@dataclass
class Day:
    """One policy, its calls, and what came of them."""

    parts: Parts
    calls: tuple[Call, ...]
    ledger: Ledger = field(default_factory=Ledger)
    ends: list[tuple[Call, Any]] = field(default_factory=list)
    policy: Policy = field(init=False)

    async def pass_by(self) -> None:
        """Make all calls, each at its time, and wait for their ends."""
        self.policy = self.parts.build()
        await asyncio.gather(*(self._caller(call) for call in self.calls))

    async def is_lawful(self) -> None:
        """Let the day pass by and hold it to the law, on its own clock: windows are read by it."""
        await self.pass_by()
        check_answers(self)
        check_all_is_home(self)
        check_accounts(self)

    async def _caller(self, call: Call) -> None:
        await asyncio.sleep(call.at)
        task = asyncio.ensure_future(self._make(call))
        if call.leaves is not None:
            asyncio.get_running_loop().call_later(call.leaves, task.cancel)
        (result,) = await asyncio.gather(task, return_exceptions=True)
        self.ends.append((call, result))

    async def _make(self, call: Call) -> str:
        work = self.ledger.dependency(call)
        async with nullcontext() if call.within is None else timeout(call.within):
            if not call.block:
                return await self.policy.call(work)
            async with self.policy.permit():
                return await work()


def check_answers(day: Day) -> None:
    """Each caller hears what its parts can say, and nothing else."""
    parts = day.parts
    for call, result in day.ends:
        kinds = {kind for kind, _ in call.attempts}
        if result == "ok":
            assert "ok" in kinds
        elif result == "instead":
            assert parts.fallback
            assert not call.block
        elif isinstance(result, DeadlineExceeded):
            assert parts.deadline or parts.attempt or call.within
        elif isinstance(result, asyncio.CancelledError):
            assert call.leaves is not None, "nobody had cancelled it"
        elif isinstance(result, Trouble):
            assert "trouble" in kinds
        elif isinstance(result, Answer):
            assert "answer" in kinds
        else:
            assert isinstance(result, Rejected), repr(result)
            may_refuse = (
                parts.breaker
                or parts.rate
                or parts.bulkhead
                or parts.max_callers
                or "refusal" in kinds
            )
            assert may_refuse or call.within or parts.deadline, repr(result)


def check_all_is_home(day: Day) -> None:
    """Nobody is left in any guard, and every unit of the rate was used for a call."""
    policy, ledger = day.policy, day.ledger
    assert ledger.live == 0
    assert policy.statistics().in_flight == 0
    for part in policy.parts:
        seen: Any = part.statistics()
        assert getattr(seen, "in_flight", 0) == 0, part
        assert getattr(seen, "queued", 0) == 0, part
        assert getattr(seen, "waiting", 0) == 0, part
        assert getattr(seen, "probing", 0) == 0, part
        if isinstance(part, Bulkhead):
            assert ledger.most <= N
            assert all(part.take() for _ in range(N)), "a place is lost"
        if isinstance(part, Rate):
            assert seen.granted == pytest.approx(ledger.started), "units burnt for no call"


def check_accounts(day: Day) -> None:
    """Each call is counted once, each attempt judged as the law says."""
    policy, ledger, parts = day.policy, day.ledger, day.parts
    seen = policy.statistics()
    total = seen.ok + seen.failed + seen.neutral + sum(seen.rejected.values())
    assert total == len(day.calls), seen
    if not (parts.hedge and any(call.block for call in day.calls)):  # see the test below
        assert seen.attempts == ledger.started, seen
    for breaker in (part for part in policy.parts if isinstance(part, Breaker)):
        counted = breaker.statistics()
        if parts.opens:
            continue  # it forgets what it has counted
        # One that turned out to say nothing was counted as slow if it had been slow by then.
        assert ledger.good + ledger.bad <= counted.calls <= ledger.started
        struck = any(call.leaves is not None for call in day.calls)
        timed = parts.deadline or any(call.within for call in day.calls)
        blamed = counted.failed - ledger.bad  # for attempts that were cut
        assert 0 <= blamed <= ledger.cut
        if not timed and not parts.attempt:
            assert blamed == 0, "who leaves, or wins a hedge, says nothing about the dependency"
        if parts.attempt and not timed and not struck and not parts.hedge:
            assert blamed == ledger.cut, "an attempt that takes too long is a failure"


SECONDS = st.sampled_from([0.0, 0.013, 0.057, 0.171, 0.35, 3.03])
ATTEMPTS = st.lists(
    st.tuples(st.sampled_from(["ok", "trouble", "answer", "refusal"]), SECONDS),
    min_size=1,
    max_size=3,
).map(tuple)
CALLS = st.builds(
    Call,
    at=st.sampled_from([0.0, 0.0, 0.007, 0.02, 0.5]),
    attempts=ATTEMPTS,
    leaves=st.sampled_from([None, None, 0.0, 0.009, 0.103, 0.41]),
    within=st.sampled_from([None, None, 0.031, 0.203, 1.0]),
    block=st.sampled_from([False, False, False, True]),
)
FLAG = st.booleans()
PARTS = st.builds(
    Parts,
    deadline=st.sampled_from([None, 0.083, 0.507, 5.0]),
    attempt=st.sampled_from([None, 0.061, 0.307]),
    retry=FLAG,
    hedge=st.sampled_from([False, False, True]),
    breaker=FLAG,
    throttle=FLAG,
    rate=FLAG,
    bulkhead=FLAG,
    fallback=FLAG,
    max_callers=st.sampled_from([None, None, 1, 3]),
    opens=FLAG,
)


@settings(max_examples=400, deadline=None)
@given(PARTS, st.lists(CALLS, min_size=1, max_size=6).map(tuple))
@example(Parts(bulkhead=True, rate=True), (Call(0.0, (("ok", 3.03),), leaves=0.0),) * 4)
@example(  # the last leaves while it waits at our own rate: no slow call of the dependency's
    Parts(attempt=0.061, retry=True, breaker=True, rate=True),
    (
        Call(0.0, (("ok", 0.0),)),
        Call(0.0, (("ok", 0.171),)),
        Call(0.0, (("ok", 0.0),)),
        Call(0.0, (("ok", 0.0),)),
        Call(0.0, (("ok", 0.0),), leaves=0.103),
    ),
)
def test_the_law_of_outcomes_holds_for_any_policy_and_any_day(
    parts: Parts, calls: tuple[Call, ...]
) -> None:
    """Answers, places, units, probes and counts agree with what the dependency saw."""
    day = Day(parts, calls)
    run_virtual(day.is_lawful)


FIXED = (
    Call(0.0, (("ok", 0.013),)),
    Call(0.0, (("trouble", 0.013), ("ok", 0.013))),
    Call(0.0, (("ok", 0.35),), leaves=0.103),
    Call(0.007, (("answer", 0.013),), block=True),
    Call(0.02, (("ok", 3.03),), within=0.203),
    Call(0.5, (("refusal", 0.013),)),
)


def combinations() -> list[Parts]:
    """Every set of parts, with and without time limits."""
    return [
        Parts(0.507 if timed else None, 0.307 if timed else None, *flags)
        for timed, *flags in product((False, True), repeat=8)
    ]


def words(parts: Parts) -> str:
    """Name a test after what is in the policy."""
    return "-".join(name for name in Parts.__slots__ if getattr(parts, name)) or "nothing"


@pytest.mark.parametrize("parts", combinations(), ids=words)
def test_every_combination_of_parts_gives_everything_back(parts: Parts) -> None:
    """256 policies and the same six calls."""
    day = Day(parts, FIXED)
    run_virtual(day.is_lawful)


def test_a_block_of_a_hedged_policy_counts_as_an_attempt() -> None:
    """As one that fails does, and as a call does."""
    day = Day(Parts(hedge=True), (Call(0.0, (("ok", 0.0),), block=True),))
    run_virtual(day.pass_by)
    assert day.policy.statistics().attempts == 1
