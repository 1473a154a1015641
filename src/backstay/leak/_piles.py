"""Callbacks and waiters that pile up on one object: found, weighed, and told as findings.

The shape: something lives long (a "closed" future, a "stop" event, a shared task), and
each round of a loop hangs one more callback on it: by `asyncio.wait` or `shield` in their
leaking versions, by `add_done_callback` without its remove. No task is left behind, so
no count of tasks shows it; what grows is a list inside of one future.
"""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import BuiltinFunctionType, MethodType
from typing import Any

from backstay.leak._finding import Finding
from backstay.leak._keeper import named_code
from backstay.leak._pile_rule import MIN_LOOKS, piles_up
from backstay.leak._surroundings import Surroundings
from backstay.tasks._await_chain import kind_of

__all__ = ["Pile", "PileMemory", "pile_findings", "piles_in"]

_LEAST = 100  # callbacks from which on they are looked at one by one
_MOST = 64  # piles remembered
_WORTH = 8  # looks remembered of each


@dataclass(frozen=True, slots=True)
class Pile:
    """Dead weight on one object at one look; plain values."""

    key: int  # id() of the object
    kind: str  # "Future", "Event", "Queue"
    weight: int  # callbacks that wake nobody, or waiters that wait no more
    callback: str  # the commonest callback, "" for waiters
    site: str  # where that callback is defined; "" when unknown
    held_by: str  # where the object was met


def piles_in(around: Surroundings) -> list[Pile]:
    """Weigh what was met, heaviest first; what weighs little is left out.

    Cost: a microsecond for each future, and a tenth for each callback on heavy ones.
    """
    seen: dict[int, Pile] = {}
    for future, words in around.futures:
        if id(future) not in seen and getattr(future, "_state", "") == "PENDING":
            pile = _of_future(future, words)
            if pile is not None:
                seen[pile.key] = pile
    for primitive, words in around.lines:
        weight = sum(_stale(line) for line in _lines_of(primitive))
        if weight >= _LEAST:
            kind = kind_of(primitive).__name__
            seen[id(primitive)] = Pile(id(primitive), kind, weight, "", "", words)
    return sorted(seen.values(), key=lambda one: -one.weight)[:_MOST]


def _of_future(future: Any, words: str) -> Pile | None:
    # The attribute copies the whole list, so it is read only where the list is known to be long.
    if not any(kind_of(part) is list and len(part) >= _LEAST for part in gc.get_referents(future)):
        return None
    weight = 0
    example: Any = None
    for callback, _ in future._callbacks or ():
        if not _wakes_a_task(callback):
            weight += 1
            example = callback
    if weight < _LEAST:
        return None
    name, site = named_code(example)
    return Pile(id(future), kind_of(future).__name__, weight, name, site, words)


def _wakes_a_task(callback: Any) -> bool:
    if kind_of(callback) not in (BuiltinFunctionType, MethodType):
        return False
    return issubclass(kind_of(callback.__self__), asyncio.Task)


def _lines_of(primitive: Any) -> Iterator[Any]:
    for name in ("_waiters", "_getters", "_putters"):
        line: Any = getattr(primitive, name, None)
        if kind_of(line) is deque and len(line) >= _LEAST:
            yield line


def _stale(line: Any) -> int:
    return sum(getattr(waiter, "_state", "PENDING") != "PENDING" for waiter in line.copy())


class PileMemory:
    """What each pile weighed at the last looks, in numbers."""

    def __init__(self) -> None:
        """Start without a past."""
        self._past: dict[tuple[int, str], list[int]] = {}

    def add(self, piles: list[Pile]) -> None:
        """Take a look; what was not seen this time is forgotten, since its id may be used again."""
        self._past = {
            (pile.key, pile.callback): [
                *self._past.get((pile.key, pile.callback), ()),
                pile.weight,
            ][-_WORTH:]
            for pile in piles
        }

    def growing(self, piles: list[Pile], tasks: int) -> list[tuple[Pile, list[int]]]:
        """Return those that pile up, each with what it weighed so far.

        Args:
            piles: those of the last look.
            tasks: living tasks of the loop.
        """
        past: Mapping[tuple[int, str], list[int]] = self._past
        found = [(pile, past.get((pile.key, pile.callback), [])) for pile in piles]
        return [(pile, weights) for pile, weights in found if piles_up(weights, tasks)]


def pile_findings(growing: list[tuple[Pile, list[int]]], span_s: float) -> list[Finding]:
    """Put piles into words.

    Args:
        growing: what `PileMemory.growing` said.
        span_s: seconds between the first and the last of the looks that count.
    """
    return [_finding(pile, weights, span_s) for pile, weights in growing]


def _finding(pile: Pile, weights: list[int], span_s: float) -> Finding:
    gained = weights[-1] - weights[-MIN_LOOKS]
    pace = gained / span_s if span_s > 0 else 0.0
    what = f"callbacks of {pile.callback}" if pile.callback else "waiters that wait no more"
    steps = " -> ".join(f"{weight:,}" for weight in weights[-MIN_LOOKS:])
    return Finding(
        verdict="GROWING",
        count=pile.weight,
        alive=0,
        task_name=f"{what} on one {pile.kind}",
        site=pile.site or pile.held_by,
        function=pile.callback or pile.kind,
        owner="",
        age=None,
        blocked_on="",
        held_by=pile.held_by,
        trace_ids=(),
        advice=(
            f"Each round leaves one more on a {pile.kind} that lives on, found as {pile.held_by}. Take it off "
            f"again: `remove_done_callback` in a `finally`, cancel what loses a race, and race against a "
            f"fresh task instead of the long-lived one. `shield()` and `wait()` leave their callbacks on "
            f"what does not end: make one shield and use it again."
        ),
        impact=pile.weight + max(0.0, pace) * 3600.0,
        slope_per_s=pace or None,
        detail=(
            f"pile: {pile.weight:,} {what} on one pending {pile.kind}, {steps} at the last {MIN_LOOKS} looks",
        ),
    )
