"""How much memory some tasks hold: what would be freed if they went away.

Not all that a task reaches is its own: the application, the connection pool and the modules are
reached by everybody. What it holds is what nothing else refers to; so references are counted as in
a proof, only that here the tasks are supposed to be gone. A bounded walk; what lies beyond the
budget, or is shared, is not counted, so the figure is a lower bound.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from operator import sub
from types import FunctionType, ModuleType
from typing import Any

from backstay.leak._namespaces import namespaces
from backstay.leak._places import relative
from backstay.tasks import info, live_tasks
from backstay.tasks._await_chain import kind_of
from backstay.tasks._spawn_site import resolve_site
from backstay.tasks._tracked_task import card_of

__all__ = ["MemoryHeld", "memory_by_site", "memory_held"]

_HEADER = 16  # bytes in front of an object that the collector tracks

_ASKED = 16  # of a site's tasks; they are much alike

_Size = Callable[[Any], int]


@dataclass(frozen=True, slots=True)
class MemoryHeld:
    """What some tasks hold that nobody else does."""

    tasks: int  # how many were asked
    bytes: int  # by all of them
    objects: int  # in which these bytes lie
    complete: bool  # False: the budget was not enough, and they may hold more

    @property
    def bytes_each(self) -> int:
        """Bytes that one task holds, on average; 0 without tasks."""
        return self.bytes // self.tasks if self.tasks else 0


def memory_held(tasks: list[asyncio.Task[Any]], budget: int = 5_000) -> MemoryHeld:
    """Estimate the memory that `tasks` alone hold, their own included.

    Callable from any thread; what changes meanwhile makes the figure a little wrong and nothing
    else. No code of the application is run: a `__sizeof__` that is written in Python is not asked.

    Args:
        tasks: at least one; a few of a kind speak for the others.
        budget: objects that are looked into at most.

    Cost: 2 to 3 microseconds an object.
    """
    return _Walk(tasks).run(budget)


def memory_by_site(
    loop: asyncio.AbstractEventLoop, sites: Collection[str]
) -> dict[str, MemoryHeld]:
    """Estimate what the tasks of some spawn sites hold, from up to 16 of each.

    Args:
        loop: whose tasks; callable from any thread.
        sites: as "path:line", relative to the working directory.

    Cost: half a microsecond a living task, and some milliseconds for each site.
    """
    asked: dict[str, list[asyncio.Task[Any]]] = {site: [] for site in sites}
    names: dict[tuple[int, int], str] = {}
    for task in live_tasks(loop) if asked else ():
        code, lasti, _, _ = card_of(task) or (None, -1, None, 0.0)
        key = (id(code), lasti) if code is not None else (id(task.get_coro()), -2)
        site = names.get(key)
        if site is None:
            spawned = resolve_site(code, lasti)
            site = names[key] = relative(info(task).definition if spawned is None else str(spawned))
        some = asked.get(site)
        if some is not None and len(some) < _ASKED:
            some.append(task)
    return {site: memory_held(some) for site, some in asked.items() if some}


class _Walk:
    """One walk; nothing of it remains."""

    def __init__(self, tasks: list[asyncio.Task[Any]]) -> None:
        self.nodes: list[Any] = list(tasks)
        self.tasks = len(tasks)
        self.edges: dict[int, int] = dict.fromkeys(map(id, tasks), 0)
        self.sizes: dict[type[Any], _Size | None] = {}
        self.passed_by = {id(namespace) for _, namespace in namespaces()}

    def run(self, budget: int) -> MemoryHeld:
        """Collect, tell apart what is shared, and add up the rest."""
        begin = 0
        while begin < len(self.nodes) and begin < budget:
            end = min(len(self.nodes), budget)
            self._meet(gc.get_referents(*self.nodes[begin:end]))
            begin = end
        shared = self._shared(begin)
        total = objects = 0
        for thing in self.nodes:
            size = self.sizes.get(kind_of(thing)) or sys.getsizeof
            if id(thing) not in shared:
                total += size(thing)
                objects += 1
        return MemoryHeld(self.tasks, total, objects, begin == len(self.nodes))

    def _meet(self, reached: list[Any]) -> None:
        edges, nodes, sizes = self.edges, self.nodes, self.sizes
        for thing in reached:
            key = id(thing)
            if key in edges:
                edges[key] += 1
                continue
            kind = kind_of(thing)
            if kind not in sizes:
                sizes[kind] = _size_of(kind)
            if sizes[kind] is None or key in self.passed_by:
                continue
            edges[key] = 1
            nodes.append(thing)
            if kind is FunctionType:
                self.passed_by.add(id(thing.__globals__))

    def _shared(self, expanded: int) -> set[int]:
        """Return the ids of what others refer to as well, and of all that is reached from there."""
        nodes, edges = self.nodes, self.edges
        nodes.append([])  # a gauge: nobody else refers to it
        counts = list(map(sys.getrefcount, nodes))
        nodes.pop()
        base = counts.pop()
        keys = list(map(id, nodes))
        surplus = list(map(sub, counts, map(edges.__getitem__, keys)))
        stack = [
            nodes[place]
            for place in range(self.tasks, len(nodes))
            if surplus[place] != base or place >= expanded
        ]
        shared = {id(thing) for thing in stack}
        own = set(keys[: self.tasks])
        while stack:
            for thing in gc.get_referents(stack.pop()):
                key = id(thing)
                if key in edges and key not in shared and key not in own:
                    shared.add(key)
                    stack.append(thing)
        return shared


def _size_of(kind: type[Any]) -> _Size | None:
    """Return how the size of a `kind` is told; None for what is never a task's own."""
    if issubclass(kind, (ModuleType, type, asyncio.AbstractEventLoop)):
        return None
    for owner in kind.__mro__:
        if "__sizeof__" in owner.__dict__:
            if kind_of(owner.__dict__["__sizeof__"]) is FunctionType:
                return lambda thing: object.__sizeof__(thing) + _HEADER
            break
    return sys.getsizeof
