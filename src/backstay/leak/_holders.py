"""Who holds a task that is stuck: the set, the object, the local of another task.

`gc.get_referrers` would answer, and would look at every object of the process for it. Instead we go
forwards from where holders usually are: the globals of modules, the program's own first, and
the bodies of living tasks; a few steps, up to a budget. What is not found so is not named;
the verdict does not depend on it.
"""

from __future__ import annotations

import asyncio
import gc
import sysconfig
from collections.abc import Iterator, Sequence
from types import (
    BuiltinFunctionType,
    CodeType,
    FrameType,
    FunctionType,
    ModuleType,
)
from typing import Any

from backstay.leak._namespaces import namespaces
from backstay.leak._places import TRACED, is_ours
from backstay.tasks import live_tasks
from backstay.tasks._await_chain import kind_of, walk

__all__ = ["name_holders"]

_BUDGET = 30_000  # objects; some 30 ms
_DEPTH = 6
_MOST_TASKS = 2_000  # whose bodies are looked into

_STOPS = (
    *(type, ModuleType, CodeType, FrameType, FunctionType, BuiltinFunctionType),
    *(asyncio.AbstractEventLoop, asyncio.Future),
)
_STANDARD = sysconfig.get_paths()["stdlib"]

Root = tuple[Any, str]


def name_holders(
    tasks: Sequence[asyncio.Task[Any]], loop: asyncio.AbstractEventLoop
) -> dict[int, str]:
    """Say in words who holds each task, by the id of the task; those not found are left out.

    Cost: about a microsecond an object, at most some 30 ms; nothing is kept.
    """
    wanted = {id(task) for task in tasks}
    found: dict[int, str] = {}
    seen: set[int] = set()
    level = list(_roots(wanted, loop))
    for _ in range(_DEPTH):
        deeper: list[Root] = []
        for thing, path in level:
            for part in gc.get_referents(thing):
                key = id(part)
                if key in wanted:
                    found.setdefault(key, f"{_article(thing)}{path}")
                    continue
                kind = kind_of(part)
                if key in seen or not kind.__flags__ & TRACED or issubclass(kind, _STOPS):
                    continue
                seen.add(key)
                deeper.append((part, _path(thing, path)))
            if len(found) == len(wanted) or len(seen) > _BUDGET:
                return found
        level = deeper
    return found


def _roots(wanted: set[int], loop: asyncio.AbstractEventLoop) -> Iterator[Root]:
    """Yield where to begin, with words for it: globals of the program, tasks, other globals."""
    own: list[tuple[str, dict[str, Any]]] = []
    foreign: list[tuple[str, dict[str, Any]]] = []
    for name, namespace in namespaces():
        known = namespace.get("__file__")
        file = known if type(known) is str else ""
        if is_ours(file):
            continue
        standard = file.startswith(_STANDARD) or "site-packages" in file or not file
        (foreign if standard and name != "__main__" else own).append((name, namespace))
    yield from _globals(own)
    for task in live_tasks(loop)[:_MOST_TASKS]:
        if id(task) in wanted:
            continue
        for link in walk(task).links:
            name = getattr(link, "__qualname__", kind_of(link).__name__)
            yield link, f"a local of {name}() in task {task.get_name()!r}"
    yield from _globals(foreign)


def _globals(modules: list[tuple[str, dict[str, Any]]]) -> Iterator[Root]:
    for module_name, namespace in modules:
        for name, thing in [*namespace.items()]:
            kind = kind_of(thing)
            if kind.__flags__ & TRACED and not issubclass(kind, _STOPS):
                yield thing, f"{module_name}.{name}"


def _article(thing: Any) -> str:
    kind = kind_of(thing).__name__
    return "" if kind in ("coroutine", "async_generator", "generator") else f"a {kind} in "


def _path(thing: Any, path: str) -> str:
    """Say the way on: objects are named by their type, containers add nothing."""
    kind = kind_of(thing)
    if kind.__module__ == "builtins" or f"({kind.__name__})" in path:
        return path
    return f"{path} ({kind.__name__})"
