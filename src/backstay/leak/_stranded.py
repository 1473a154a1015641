"""Tasks that wait for something which is there: a wake-up was lost.

A lock that is free has nobody in line, an event that is set has no waiters, a queue
with items no getters; but for the moment between a release and the next turn of the
loop. Where that moment lasts, whoever should have been woken never will be. asyncio had
such bugs (a cancel that struck between the wake-up and the task), and locks of one's
own making have them still.

One look proves nothing, as it may fall into the moment. So the very same waiter must
stand first in line at two looks, ten seconds and more apart, and be asked several
times at the second one, with turns of the loop between.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from backstay.leak._finding import Finding
from backstay.leak._places import in_words, relative, site_of
from backstay.leak._surroundings import Surroundings
from backstay.leak._timers import parts_of
from backstay.tasks import blocked_on, info
from backstay.tasks._await_chain import kind_of

__all__ = ["Stranded", "stranded", "stranded_findings"]

_TIMES = 3
_MOST_TIMES = 12  # a loop that is never found idle is not judged
_BREATH_S = 2e-3  # between two of them: some turns of a loop that is not blocked


@dataclass(frozen=True, slots=True)
class Stranded:
    """A primitive that is free although somebody waits for it, in numbers."""

    key: int  # id() of the primitive
    first: int  # id() of the future that stands first in line


def stranded(around: Surroundings) -> dict[Stranded, Any]:
    """Return what looks free with somebody in line, each with the primitive itself.

    Cost: a microsecond for each primitive that was met.
    """
    found: dict[Stranded, Any] = {}
    for primitive, _ in around.lines:
        first = _first_in_vain(primitive)
        if first is not None:
            found[Stranded(id(primitive), id(first))] = primitive
    return found


def stranded_findings(
    loop: asyncio.AbstractEventLoop, suspects: dict[Stranded, Any]
) -> list[Finding]:
    """Ask those that were seen at two looks again, and put into words who still waits in vain.

    Args:
        loop: theirs.
        suspects: what `stranded` saw now and at the look before.
    """
    on_loop = asyncio._get_running_loop() is loop
    asked = 0
    for number in range(1 if on_loop else _MOST_TIMES):
        if not suspects:
            return []
        if number:
            time.sleep(_BREATH_S)
        # With callbacks about to run, as on a loop that is blocked, a wake-up may be among them.
        if _is_idle(loop):
            asked += 1
            suspects = {
                one: primitive
                for one, primitive in suspects.items()
                if id(_first_in_vain(primitive)) == one.first
            }
        if asked == _TIMES:
            break
    if asked < (1 if on_loop else _TIMES):
        return []
    findings = [_finding(primitive) for primitive in suspects.values()]
    return [one for one in findings if one is not None]


def _is_idle(loop: asyncio.AbstractEventLoop) -> bool:
    """Tell whether no callback is about to run; a loop keeps these in its only deque."""
    return not any(kind_of(part) is deque and part for part in parts_of(loop))


def _first_in_vain(primitive: Any) -> Any:
    """Return who stands first in line for what is free; None when all is in order."""
    for line, free in _lines(primitive):
        waiters: list[Any] = list(line.copy()) if free and kind_of(line) is deque else []
        # One that has been woken is done and may still stand in line: then all is under way.
        if waiters and all(getattr(one, "_state", "") == "PENDING" for one in waiters):
            return waiters[0]
    return None


def _lines(primitive: Any) -> list[tuple[Any, bool]]:
    """Return the lines of asyncio's own primitives, each with whether what it waits for is there."""
    kind = kind_of(primitive)
    if kind is asyncio.Lock:
        return [(primitive._waiters, not primitive._locked)]
    if kind is asyncio.Event:
        return [(primitive._waiters, primitive._value)]
    if kind in (asyncio.Semaphore, asyncio.BoundedSemaphore):
        return [(primitive._waiters, primitive._value > 0)]
    if kind in (asyncio.Queue, asyncio.LifoQueue, asyncio.PriorityQueue):
        items, limit = len(primitive._queue), primitive._maxsize
        return [
            (primitive._getters, items > 0),
            (primitive._putters, not 0 < limit <= items),
        ]
    return []


def _finding(primitive: Any) -> Finding | None:
    first = _first_in_vain(primitive)
    tasks = [task for task in map(_task_of, _line_with(primitive, first)) if task is not None]
    if not tasks:
        return None
    card, wait = info(tasks[0]), blocked_on(tasks[0])
    kind = kind_of(primitive).__name__
    unnamed = card.name.startswith("Task-") or card.name == "None"
    site = site_of(card)
    what = {"Lock": "free", "Event": "set"}.get(kind, "ready for them")
    return Finding(
        verdict="STUCK",
        count=len(tasks),
        alive=len(tasks),
        task_name=card.coroutine if unnamed else card.name,
        site=relative(site),
        function=card.coroutine if card.site is None else card.site.function,
        owner=in_words(card.owner),
        age=card.age,
        blocked_on="" if wait is None else f"{wait.label} at {relative(wait.site)}",
        held_by=None,
        trace_ids=(card.trace_id,) if card.trace_id else (),
        advice=(
            f"A wake-up was lost: the {kind} is {what}, and nobody wakes who waits for it. Look for code that "
            f"changes it without waking (its attributes, a subclass), that calls it from another thread, "
            f"or for a bug of this Python version; `backstay.sync` has primitives that lose none."
        ),
        impact=float(len(tasks)),
        slope_per_s=None,
        detail=(
            f"lost wake-up: {len(tasks)} wait for one {kind} that is {what}, the first of them at two looks",
        ),
    )


def _line_with(primitive: Any, first: Any) -> list[Any]:
    for line, _ in _lines(primitive):
        if kind_of(line) is deque and first is not None and first in line:
            return list(line.copy())
    return []


def _task_of(waiter: Any) -> Any:
    for callback, _ in getattr(waiter, "_callbacks", None) or ():
        task: Any = getattr(callback, "__self__", None)
        if issubclass(kind_of(task), asyncio.Task):
            return task
    return None
