"""What living tasks have at hand: the things within a few steps of what they are doing.

From each suspended call of a task, through containers, closures and a few
objects; and, since events and futures that live long are often globals, from the
globals of the program's own modules. Not through other tasks, types, modules or loops.

That is where a future lives on which callbacks pile up, and an async generator that
is still being iterated. The walk is bounded, and says when it was not enough.
"""

from __future__ import annotations

import asyncio
import gc
import sysconfig
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextvars import Context
from types import (
    AsyncGeneratorType,
    BuiltinFunctionType,
    CellType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    MethodType,
    ModuleType,
)
from typing import Any

from backstay.leak._namespaces import namespaces
from backstay.leak._places import TRACED, is_ours
from backstay.tasks._await_chain import kind_of, walk

__all__ = ["Surroundings"]

AnyTask = asyncio.Task[Any]

_LARGEST = 2_000  # a larger container is not looked through
_STRIDE = 512  # objects between two breaths
_TASKS = 64  # tasks, the same

_CONTAINERS = (tuple, list, set, frozenset, dict, deque)
_TRANSPARENT = (MethodType, BuiltinFunctionType, CellType, AsyncGeneratorType)
_STOPS = (
    *(type, ModuleType, CodeType, FrameType, Context, CoroutineType),
    *(asyncio.AbstractEventLoop,),
)
_STANDARD = sysconfig.get_paths()["stdlib"]


class Surroundings:
    """One walk; holds what it met, so it must not outlive the call that made it.

    Attributes:
        futures: those met, tasks included, each with words for where.
        lines: asyncio's primitives that keep a line of waiters, with the same.
        generators: ids of the async generators met.
        complete: whether everything within reach was looked at.
    """

    def __init__(self, budget: int, steps: int, breathe: Callable[[], None] = lambda: None) -> None:
        """Start with nothing met.

        Args:
            budget: objects looked at, at most.
            steps: instances on one way, at most; containers are for free.
            breathe: called now and then, so that others may run.
        """
        self.futures: list[tuple[Any, str]] = []
        self.lines: list[tuple[Any, str]] = []
        self.generators: set[int] = set()
        self.complete = True
        self._budget = budget
        self._steps = steps
        self._breathe = breathe
        self._seen: dict[int, int] = {}  # by id, the fewest objects on the way there

    def of_tasks(self, tasks: Iterable[AnyTask]) -> None:
        """Walk from what each task is doing."""
        for number, task in enumerate(tasks):
            if not number % _TASKS:
                self._breathe()
            self._meet(task, f"task {task.get_name()!r}", 0)
            for link in walk(task).links:
                name = getattr(link, "__qualname__", kind_of(link).__name__)
                if kind_of(link) is AsyncGeneratorType:
                    self.generators.add(id(link))
                self._walk(link, f"a local of {name}() in task {task.get_name()!r}")

    def of_globals(self) -> None:
        """Walk from the globals of the program's own modules."""
        for module_name, namespace in namespaces():
            if not _is_own(module_name, namespace.get("__file__")):
                continue
            for name, thing in [*namespace.items()]:
                if not name.startswith("__") and self._meet(thing, f"{module_name}.{name}", 0):
                    self._walk(thing, f"{module_name}.{name}")

    def _walk(self, start: Any, words: str) -> None:
        todo: deque[tuple[Any, int]] = deque([(start, 0)])
        while todo:
            here, steps = todo.popleft()
            if self._seen.get(id(here), self._steps + 1) <= steps:
                continue
            self._seen[id(here)] = steps
            if len(self._seen) > self._budget:
                self.complete = False
                return
            if not len(self._seen) % _STRIDE:
                self._breathe()
            for thing in _inside(here):
                onwards = self._meet(thing, words, steps)
                if onwards == _SAME:
                    todo.appendleft((thing, steps))
                elif onwards == _FURTHER:
                    todo.append((thing, steps + 1))

    def _meet(self, thing: Any, words: str, steps: int) -> int:
        """Note what is of interest; return how to go on from there."""
        kind = kind_of(thing)
        if not kind.__flags__ & TRACED:
            return _NOT
        if issubclass(kind, asyncio.Future):
            if id(thing) not in self._seen or issubclass(kind, asyncio.Task):
                self.futures.append((thing, words))
            return _NOT
        if kind in _CONTAINERS:
            if len(thing) > _LARGEST:
                self.complete = False
                return _NOT
            return _SAME
        if kind is AsyncGeneratorType:
            self.generators.add(id(thing))
            return _SAME
        if kind is FunctionType or issubclass(kind, _TRANSPARENT):
            return _SAME
        if issubclass(kind, _STOPS) or steps >= self._steps:
            return _NOT
        if issubclass(kind, _LINES) and id(thing) not in self._seen:
            self.lines.append((thing, words))
        return _FURTHER


_NOT, _SAME, _FURTHER = range(3)
_LINES = (
    *(asyncio.Event, asyncio.Condition, asyncio.Lock, asyncio.Semaphore),
    asyncio.Queue,
)


def _inside(here: Any) -> Iterator[Any]:
    if kind_of(here) is FunctionType:  # what is its own; its globals are everybody's
        yield from here.__closure__ or ()
    else:
        yield from gc.get_referents(here)


def _is_own(name: str, file: object) -> bool:
    if name == "__main__":
        return True
    if not isinstance(file, str):
        return False
    return not file.startswith(_STANDARD) and "-packages" not in file and not is_ours(file)
