"""`Scope` against a small model, under every order of the things that can strike it."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from backstay import Scope, now
from backstay.errors import DeadlineExceeded
from backstay.testing import run_virtual

Ending = Literal["returns", "raises", "cancels"]


class ChildError(Exception):
    """What a failing child raises."""


class BodyError(Exception):
    """What a failing body raises."""


@dataclass(frozen=True)
class Child:
    lasts: int  # seconds until it ends by itself
    fails: bool
    cleans_up: int  # seconds it needs after being cancelled
    cleanup_fails: bool = False


@dataclass(frozen=True)
class Plan:
    children: tuple[Child, ...]
    body_lasts: int
    ending: Ending
    timeout: int | None
    outer_cancel: int | None
    on_exit: Literal["wait", "cancel"]
    on_error: Literal["cancel", "collect"]
    eager: bool = False


@dataclass
class Seen:
    outcome: BaseException | None = None
    left_at: float = -1.0
    stray: bool = False  # whether a CancelledError struck after the block
    outer_in_time: bool = False  # whether the outer cancel came before the block was left
    cancels: int = 0  # most CancelledErrors that any single child received
    alive: int = 0
    count: int = 0  # host.cancelling() at the end
    timers: int = 0


def perform(plan: Plan) -> Seen:
    """Run the plan for real, in virtual time, and note what happened."""
    seen = Seen()

    async def child(spec: Child) -> None:
        received = 0
        try:
            await asyncio.sleep(spec.lasts)
        except asyncio.CancelledError:
            received += 1
            ends = now() + spec.cleans_up
            while now() < ends:
                try:
                    await asyncio.sleep(ends - now())
                except asyncio.CancelledError:
                    received += 1
            seen.cancels = max(seen.cancels, received)
            if spec.cleanup_fails:
                raise ChildError from None
            raise
        if spec.fails:
            raise ChildError

    async def host() -> None:
        try:
            async with Scope(
                "s", timeout=plan.timeout, on_exit=plan.on_exit, on_error=plan.on_error
            ) as scope:
                tasks = [scope.go(child, spec) for spec in plan.children]
                if plan.body_lasts:
                    await asyncio.sleep(plan.body_lasts)
                if plan.ending == "raises":
                    raise BodyError
                if plan.ending == "cancels":
                    scope.cancel("enough")
        except BaseException as error:
            seen.outcome = error
        seen.left_at = now()
        seen.alive = sum(not task.done() for task in tasks)
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            seen.stray = True
        me = asyncio.current_task()
        assert me is not None
        seen.count = me.cancelling()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        if plan.eager and sys.version_info >= (3, 12):
            loop.set_task_factory(asyncio.eager_task_factory)
        task = loop.create_task(host())

        def strike() -> None:
            seen.outer_in_time = seen.left_at < 0
            task.cancel()

        if plan.outer_cancel is not None:
            loop.call_later(plan.outer_cancel, strike)
        await asyncio.wait([task])
        if seen.outer_in_time or plan.outer_cancel is None:
            seen.timers = sum(not t.cancelled() for t in loop._scheduled)  # type: ignore[attr-defined]

    run_virtual(main, track=not plan.eager)
    return seen


def errors_in(outcome: BaseException | None) -> list[BaseException]:
    """List the errors that left, groups opened."""
    if isinstance(outcome, BaseExceptionGroup):
        return list(outcome.exceptions)
    return [] if outcome is None else [outcome]


def check_promises(plan: Plan, seen: Seen) -> None:
    """Check what must hold under every order, ties included."""
    assert seen.alive == 0, "a child outlived the block"
    assert seen.cancels <= 1, "a child was cancelled twice, which tears its clean-up"
    assert seen.timers == 0, "a timer was left behind"
    was_cancelled = isinstance(seen.outcome, asyncio.CancelledError)
    if seen.outer_in_time:
        assert was_cancelled != seen.stray, "an outer cancel must arrive exactly once"
        assert seen.count == 1, "the outer cancel stays on the host's account"
    elif plan.outer_cancel is None:
        assert not was_cancelled, "the scope's own cancel leaked out as CancelledError"
        assert not seen.stray, "the scope's own cancel struck after the block"
        assert seen.count == 0, "the scope left its own cancel on the host's account"
    for error in errors_in(seen.outcome):
        assert isinstance(error, ChildError | BodyError | DeadlineExceeded | asyncio.CancelledError)


@dataclass
class Expected:
    left_at: float
    kinds: list[str]  # of what leaves, sorted; "stray" when an outer cancel strikes after it


def predict(plan: Plan) -> Expected:
    """Say what should happen when no two things strike at the same time."""
    cuts: list[tuple[float, str]] = []
    if plan.timeout is not None:
        cuts.append((plan.timeout, "deadline"))
    if plan.outer_cancel is not None:
        cuts.append((plan.outer_cancel, "outer"))
    if plan.on_error == "cancel":
        cuts += [(c.lasts, "child") for c in plan.children if c.fails]
    if plan.ending != "returns" or plan.on_exit == "cancel":
        cuts.append((plan.body_lasts, "body"))
    natural_end = max([plan.body_lasts, *(c.lasts for c in plan.children)])
    at, why = min(cuts, default=(natural_end + 1, "none"))
    if at > natural_end:
        at, why = natural_end, "none"
    if why == "none":
        left_at: float = natural_end
        failed = [c for c in plan.children if c.fails]
    else:
        alive = [c for c in plan.children if c.lasts > at]
        left_at = max(
            [min(at, plan.body_lasts) if why == "body" else at, *(at + c.cleans_up for c in alive)]
        )
        failed = [c for c in plan.children if c.fails and c.lasts <= at]
        failed += [c for c in alive if c.cleanup_fails]
    struck_later = plan.outer_cancel is not None and plan.outer_cancel < left_at
    outer = why == "outer" or struck_later
    body_raised = plan.ending == "raises" and (at >= plan.body_lasts or why == "none")
    kinds = ["child"] * len(failed)
    if body_raised:
        kinds.append("body")
    if why == "deadline" and (failed or not (outer or body_raised)):
        kinds.append("deadline")
    if outer:
        kinds.append("stray" if failed or body_raised else "cancelled")
    return Expected(left_at, sorted(kinds))


NAMES = {
    ChildError: "child",
    BodyError: "body",
    DeadlineExceeded: "deadline",
    asyncio.CancelledError: "cancelled",
}


def times_are_distinct(plan: Plan) -> bool:
    """Whether no two things strike at once, so that the model can tell the order."""
    base = [plan.timeout, plan.outer_cancel, plan.body_lasts, *(c.lasts for c in plan.children)]
    firsts = [t for t in base if t is not None]
    later = [t + c.cleans_up for t in firsts for c in plan.children if c.cleans_up]
    everything = firsts + later
    return len(set(firsts)) == len(firsts) and not set(firsts) & set(later) and 0 not in everything


children = st.builds(
    Child,
    lasts=st.integers(0, 40),
    fails=st.booleans(),
    cleans_up=st.integers(0, 5),
    cleanup_fails=st.booleans(),
)
plans = st.builds(
    Plan,
    children=st.lists(children, max_size=4).map(tuple),
    body_lasts=st.integers(0, 40),
    ending=st.sampled_from(["returns", "raises", "cancels"]),
    timeout=st.none() | st.integers(0, 40),
    outer_cancel=st.none() | st.integers(0, 45),
    on_exit=st.sampled_from(["wait", "cancel"]),
    on_error=st.sampled_from(["cancel", "collect"]),
    eager=st.booleans() if sys.version_info >= (3, 12) else st.just(False),
)


@given(plans)
@settings(max_examples=1500, deadline=None)
@example(Plan((Child(5, True, 3, True),), 5, "raises", 5, 5, "wait", "cancel"))
@example(Plan((Child(5, False, 3),), 0, "returns", 0, None, "cancel", "cancel"))
@example(Plan((Child(0, True, 0),), 0, "cancels", 0, 0, "cancel", "collect"))
def test_promises_hold_under_every_order(plan: Plan) -> None:
    """Nothing outlives the block, no cancel is lost or leaked, whatever strikes when."""
    seen = perform(plan)
    check_promises(plan, seen)
    if times_are_distinct(plan):
        expected = predict(plan)
        kinds = [NAMES[type(error)] for error in errors_in(seen.outcome)] + ["stray"] * seen.stray
        assert sorted(kinds) == expected.kinds
        assert seen.left_at == pytest.approx(expected.left_at)
