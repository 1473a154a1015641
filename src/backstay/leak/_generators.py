"""Async generators that were begun, stand at a `yield`, and that no task has in hand.

``async for x in source(): ... break`` leaves the generator at its `yield`. When nobody
refers to it any more, the loop closes it, and its clean-up runs. When something does
(a list, an attribute, a traceback) it stays, with whatever it has opened.

Whether somebody will go on with it one day, nobody can know; so this is evidence and no
accusation, and these look-alikes are left out:

* what a task is iterating, or has within three objects of what it is doing: the loop's
  own body suspended between two items, a response with its body, an exit stack;
* generators under a decorator, `@asynccontextmanager` and fixtures above all, which
  stand at their `yield` for as long as their block lasts;
* everything, when a call that runs at this very moment iterates anything: what a
  running call has in hand cannot be seen;
* what moved between two looks, or was seen at one only.
"""

from __future__ import annotations

import asyncio
import dis
import linecache
import sys
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from types import AsyncGeneratorType, CodeType, FrameType
from typing import Any, NamedTuple
from weakref import WeakSet

from backstay._base import StillFrames
from backstay.leak._places import is_ours, relative
from backstay.leak._surroundings import Surroundings
from backstay.leak._timers import parts_of
from backstay.tasks import live_tasks
from backstay.tasks._await_chain import kind_of, line_of

__all__ = ["AbandonedGenerators", "Suspended", "grouped", "not_in_hand", "suspended"]

Loop = asyncio.AbstractEventLoop

_TRIES = 50
_MOST = 1_000  # generators looked at
_BUDGET = 100_000  # objects that tasks have at hand; beyond, nobody is named
_STEPS = 3
_TIMES = 3
_BREATH_S = 2e-3  # between two of them: some turns of a loop that is not blocked
_MOST_FRAMES = 1_000
_ITERATES = dis.opmap.get("GET_ANEXT", -1)
_ADVANCERS = frozenset({"anext", "__anext__", "asend", "athrow"})


@dataclass(frozen=True, slots=True)
class AbandonedGenerators:
    """Async generators of one function that stand at one line, and that no task has in hand."""

    function: str  # qualified name of the generator function
    definition: str  # "path:line" where it is defined
    suspended_at: str  # "path:line" of the `yield` at which they stand
    count: int
    seen_for_s: float  # since the longest known of them was first seen to stand there


class Suspended(NamedTuple):
    """One generator at a `yield`, in numbers and words."""

    key: int  # id() of the generator: it is the same only if all the rest is
    function: str
    definition: str
    suspended_at: str
    instruction: int


def suspended(loop: Loop) -> list[Suspended]:
    """Return the loop's generators that stand at a `yield`; callable from any thread.

    Cost: some microseconds for each.
    """
    return [one for _, one in _suspended(loop)]


def not_in_hand(
    loop: Loop, candidates: Collection[Suspended], breathe: Callable[[], None] = lambda: None
) -> list[Suspended]:
    """Return those that no task has in hand; none of them when that cannot be told.

    From another thread than the loop's this is asked three times, with turns of the loop between:
    one that a task was just handing on, or had just begun, has moved by then.

    Cost: about a microsecond for each object within reach of the tasks, at most 0.1 s; three times
        that when any is left.
    """
    if not candidates:
        return []
    wanted = frozenset(candidates)
    # Held until we return, so that it is the very same one that is asked again.
    left = {one: generator for generator, one in _suspended(loop) if one in wanted}
    elsewhere = asyncio._get_running_loop() is not loop
    for number in range(_TIMES if elsewhere else 1):
        if number:
            time.sleep(_BREATH_S)
            left = {one: held for one, held in left.items() if _describe(held) == one}
        if not left or _somebody_iterates():
            return []
        around = Surroundings(_BUDGET, _STEPS, breathe)
        around.of_tasks(live_tasks(loop))
        if not around.complete:
            return []
        left = {one: held for one, held in left.items() if one.key not in around.generators}
    return list(left)


def grouped(abandoned: dict[Suspended, float], at: float) -> tuple[AbandonedGenerators, ...]:
    """Count alike ones together, most first.

    Args:
        abandoned: each with when it was first seen.
        at: now, on the same clock.
    """
    groups: dict[tuple[str, str, str], list[float]] = {}
    for one, since in abandoned.items():
        key = one.function, one.definition, one.suspended_at
        groups.setdefault(key, []).append(at - since)
    rows = [AbandonedGenerators(*key, len(ages), max(ages)) for key, ages in groups.items()]
    return tuple(sorted(rows, key=lambda one: -one.count))


def _suspended(loop: Loop) -> Iterator[tuple[Any, Suspended]]:
    for part in parts_of(loop):
        if kind_of(part) is not WeakSet:
            continue
        for generator in _members(part)[:_MOST]:
            if kind_of(generator) is AsyncGeneratorType:
                one = _describe(generator)
                if one is not None:
                    yield generator, one


def _members(registry: Any) -> list[Any]:
    for _ in range(_TRIES):
        try:
            return list(registry)
        except RuntimeError:  # "Set changed size during iteration"
            continue
    return []


def _describe(generator: Any) -> Suspended | None:
    """Put a generator into numbers and words, if it stands at a `yield` of undecorated code of yours."""
    frame: FrameType | None = generator.ag_frame
    if frame is None or generator.ag_running or generator.ag_await is not None:
        return None
    code: CodeType = generator.ag_code
    if is_ours(code.co_filename) or _is_decorated(code):
        return None
    return Suspended(
        id(generator),
        code.co_qualname,
        relative(f"{code.co_filename}:{code.co_firstlineno}"),
        relative(f"{code.co_filename}:{line_of(generator)}"),
        frame.f_lasti,
    )


def _is_decorated(code: CodeType) -> bool:
    """Tell whether a function has decorators: its first line is theirs then. Unknown counts as yes."""
    line = linecache.getline(code.co_filename, code.co_firstlineno).strip()
    return not line or line.startswith("@")


def _somebody_iterates() -> bool:
    """Tell whether any call that runs now, in any thread, advances async generators."""
    with StillFrames():
        return _any_iterates()


def _any_iterates() -> bool:
    for innermost in sys._current_frames().values():
        frame: FrameType | None = innermost
        for _ in range(_MOST_FRAMES):
            if frame is None:
                break
            code = frame.f_code
            if not is_ours(code.co_filename) and (
                _ITERATES in code.co_code[::2] or not _ADVANCERS.isdisjoint(code.co_names)
            ):
                return True
            frame = frame.f_back
    return False
