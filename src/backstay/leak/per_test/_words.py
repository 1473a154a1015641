"""From a task that was left to the words about it."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from backstay.leak._advice import cure_of_wait
from backstay.leak._places import is_ours, relative
from backstay.leak._proof import Proved
from backstay.leak.per_test._checked import Checked
from backstay.leak.per_test._left import Left
from backstay.tasks import TaskInfo, await_chain, blocked_on, info
from backstay.tasks._tracked_task import cancel_stamp

__all__ = ["describe", "describe_lost", "is_machinery"]

# Tasks in which frameworks run tests and fixtures; they end when their runner is closed.
_MACHINERY = frozenset(
    {"TestRunner._run_tests_and_fixtures", "IsolatedAsyncioTestCase._asyncioLoopRunner"}
)


def is_machinery(task: asyncio.Task[Any]) -> bool:
    """Tell whether a test framework or Backstay runs in it, and nothing of the test."""
    card = info(task)
    return card.coroutine in _MACHINERY or is_ours(_place(card)[0])


def describe(task: asyncio.Task[Any], test: Checked, proved: Proved | None) -> Left:
    """Say what is known of a task that outlived its test; it is not kept."""
    card = info(task)
    place, function = _place(card)
    wait = blocked_on(task)
    verdict = _verdict(task, proved)
    inside = f", {card.owner.kind} {card.owner.name}" if card.owner is not None else ""
    return Left(
        verdict=verdict,
        name=card.name,
        coroutine=card.coroutine,
        site=relative(place),
        function=function,
        owner=f"{test}{inside}",
        age=card.age,
        blocked_on="" if wait is None else f"{wait.label} at {relative(wait.site)}",
        chain=tuple(str(frame) for frame in await_chain(task)),
        held_by=None if proved is None else proved.held_by,
        advice=_advice(verdict, card, "" if wait is None else wait.kind),
    )


def describe_lost(task: asyncio.Task[Any], test: Checked) -> Left:
    """Say what is known of a task that is just being collected; nothing of it is kept."""
    card = info(task)
    place, function = _place(card)
    return Left(
        verdict="LOST",
        name=card.name,
        coroutine=card.coroutine,
        site=relative(place),
        function=function,
        owner=str(test),
        age=card.age,
        blocked_on="",
        chain=(),
        held_by=None,
        advice=(
            "Nobody referred to it, and it was collected before it had ended: keep what `create_task` returns "
            "and await it, or start it with `scope.go(...)`, which does both."
        ),
    )


def _place(card: TaskInfo) -> tuple[str, str]:
    if card.site is None:
        return card.definition, card.coroutine
    return str(card.site), card.site.function


def _verdict(
    task: asyncio.Task[Any], proved: Proved | None
) -> Literal["LEAKED", "STUCK", "UNDEAD", "ORPHAN"]:
    if proved is not None:
        return proved.verdict
    asked = cancel_stamp(task) is not None or task.cancelling() > 0
    return "UNDEAD" if asked else "ORPHAN"


def _advice(verdict: str, card: TaskInfo, wait_kind: str) -> str:
    cure = cure_of_wait(wait_kind)
    if verdict in ("LEAKED", "STUCK"):
        return f"Nothing alive can wake it{': ' + cure if cure else ''}."
    if verdict == "UNDEAD":
        by = f" by {card.cancel_by}" if card.cancel_by else ""
        return (
            f"It was asked to end{by} and did not: look for an `except` that swallows CancelledError, for "
            f"clean-up that hangs, or for a cancel that nobody waited for (`await asyncio.gather(task, "
            f"return_exceptions=True)` after it)."
        )
    return (
        "Await it, or cancel it and await its end, before the test is over: start it inside of "
        "`async with backstay.Scope(...) as scope:` with `scope.go(...)`, which does both; or let the fixture or object "
        "that owns it end it."
    )
