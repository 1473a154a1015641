"""Whom a pending timer will end, or let go on: they are not stuck, they are waiting.

A task inside `asyncio.timeout`, an anyio cancel scope or a scope of ours waits for a future that
nobody may ever resolve, and is fine: a timer of the loop holds a way to cancel it. That way is
short. So from every pending timer we go the few steps that a time limit takes, and no further;
else the timer of one idle connection would reach the server, and the server every task:

* Through callbacks, closures, and whatever containers belong to one owner alone; a set that
  several share (all requests of a server) is a registry, and no time limit.
* Through one object (the `Timeout`, the `CancelScope`), or through those of `_LIMITS`, which
  are known to be time limits in more parts.

And whom such a task awaits (its group, `gather`, `wait`) will be ended by it in turn.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from contextvars import Context
from types import (
    AsyncGeneratorType,
    BuiltinFunctionType,
    CellType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
)
from typing import Any

from backstay.leak._places import TRACED
from backstay.leak._trial_deletion import awaited_by
from backstay.tasks._await_chain import kind_of
from backstay.tasks._tracking import Tracking

__all__ = ["Reach", "ended_by_timers", "parts_of", "pending_timers"]

AnyTask = asyncio.Task[Any]

_CONTAINERS = (tuple, list, set, frozenset, dict, deque)
_CALLABLES = (MethodType, BuiltinFunctionType, CellType, functools.partial)
_STOPS = (
    *(type, ModuleType, CodeType, FrameType, Context, asyncio.AbstractEventLoop),
    *(CoroutineType, GeneratorType, AsyncGeneratorType),
    Tracking,  # our own slow clock ends nobody
)
_OURS = ("deadline_wheel", "interrupt", "scope", "served_scope", "shield", "time_limit", "timeout")
_LIMITS = {
    *(f"backstay.tasks._{name}" for name in _OURS),
    *("anyio._backends._asyncio", "aiohttp.helpers", "async_timeout"),
}

# aiohttp sets it when a connection comes, for an hour, and lets it run while a request is at work.
_FOR_IDLE_ONES = {("aiohttp.web_protocol", "RequestHandler._process_keepalive")}


class Reach:
    """What is within reach of some callbacks.

    Attributes:
        tasks: ids of the tasks that were reached; none was entered.
        futures: ids of the other futures that were.
        complete: whether the budget was enough.
    """

    __slots__ = ("_budget", "_seen", "complete", "futures", "tasks")

    def __init__(self, budget: int) -> None:
        self.tasks: set[int] = set()
        self.futures: set[int] = set()
        self.complete = True
        self._budget = budget
        self._seen: dict[int, int] = {}  # by id, the fewest objects on the way there

    def extend(self, starts: Iterable[Any]) -> None:
        """Go on from `starts`."""
        todo: deque[tuple[Any, int]] = deque((start, 0) for start in starts)
        alone = _count_of_one_owner()
        while todo:
            here, objects = todo.popleft()
            if self._seen.get(id(here), 9) <= objects:
                continue
            self._seen[id(here)] = objects
            if len(self._seen) > self._budget:
                self.complete = False
                return
            for thing in gc.get_referents(here):
                kind = kind_of(thing)
                if issubclass(kind, asyncio.Future):
                    (self.tasks if issubclass(kind, asyncio.Task) else self.futures).add(id(thing))
                elif kind in _CONTAINERS:
                    if kind is tuple or sys.getrefcount(thing) <= alone:
                        todo.appendleft((thing, objects))
                elif kind is FunctionType:  # what is its own; its globals are everybody's
                    todo.extendleft((cell, objects) for cell in thing.__closure__ or ())
                elif issubclass(kind, _CALLABLES):
                    todo.appendleft((thing, objects))
                elif not issubclass(kind, _STOPS) and kind.__flags__ & TRACED:
                    step = 0 if _is_limit(kind) else 1
                    if objects + step <= 1:
                        (todo.append if step else todo.appendleft)((thing, objects + step))


@functools.cache
def _count_of_one_owner() -> int:
    """Return the reference count, as `Reach.extend` reads it, of what has one owner."""
    owner: list[Any] = [[]]
    for thing in gc.get_referents(owner):
        return sys.getrefcount(thing)
    return 0


def _is_limit(kind: type[Any]) -> bool:
    return kind.__module__ in _LIMITS


def parts_of(loop: asyncio.AbstractEventLoop) -> list[Any]:
    """Return what a loop refers to by its attributes, whichever kind of loop it is.

    The attributes of a loop written in Python lie in the object itself, until somebody asks for
    its `__dict__`: from then on, before Python 3.13, the collector sees that dict in their place.
    """
    parts = gc.get_referents(loop)
    for part in parts.copy():
        if kind_of(part) is dict:
            entries = [*part.items()]
            if entries and all(kind_of(name) is str for name, _ in entries):
                parts += [value for _, value in entries]
    return parts


def pending_timers(loop: asyncio.AbstractEventLoop) -> list[Any]:
    """Return the timer handles of a loop that have not been cancelled.

    They are found among what the loop refers to, since each kind of loop keeps them its own way.
    """
    found: list[Any] = []
    for thing in parts_of(loop):
        if kind_of(thing) in (list, set):
            found += [one for one in thing if kind_of(one).__name__ == "TimerHandle"]
    alone = {id(one): one for one in found}
    return [one for one in alone.values() if not one.cancelled()]


def _is_for_idle_ones(timer: Any) -> bool:
    """Tell whether a timer closes idle connections only, and so ends nobody who is at work."""
    for thing in gc.get_referents(timer):
        if kind_of(thing) is MethodType:
            function = thing.__func__
            name = getattr(function, "__qualname__", "")
            return (getattr(function, "__module__", ""), name) in _FOR_IDLE_ONES
    return False


def ended_by_timers(
    tasks: Sequence[AnyTask], loop: asyncio.AbstractEventLoop, budget: int = 200_000
) -> tuple[set[int], bool]:
    """Return the ids of those `tasks` that a timer ends or wakes, and whether all was looked at.

    Args:
        tasks: who was proved to be woken by nothing else.
        loop: theirs.
        budget: objects looked at, at most.

    Cost: 1 to 2 microseconds an object, some 5 objects for each pending timer.
    """
    reach = Reach(budget)
    reach.extend(timer for timer in pending_timers(loop) if not _is_for_idle_ones(timer))
    ended = {id(task) for task in tasks} & reach.tasks
    if not ended and not reach.futures:
        return ended, reach.complete
    joined = [_resolved_by(task, budget) for task in tasks]
    before = -1
    while len(ended) > before:
        before = len(ended)
        awaited = {id(awaited_by(task, loop)) for task in tasks if id(task) in ended}
        for task, futures in zip(tasks, joined, strict=True):
            if id(task) in awaited or futures & awaited or futures & reach.futures:
                ended.add(id(task))
    return ended, reach.complete


def _resolved_by(task: AnyTask, budget: int) -> set[int]:
    """Return the ids of the futures that the end of `task` may resolve."""
    reach = Reach(budget)
    callbacks: list[Any] = getattr(task, "_callbacks", None) or []
    reach.extend([callback for callback, _ in callbacks])
    return reach.futures
