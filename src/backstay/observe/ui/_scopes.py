"""The tree of owners, with their deadlines, and the graph of who waits for whom."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from backstay import leak
from backstay._base import now
from backstay.observe.ui._task_numbers import numbers
from backstay.observe.ui._task_pages import living
from backstay.tasks import Scope, installed_loops, live_tasks, owner_of

__all__ = ["scope_tree", "wait_graph"]

#: Nodes told; of a wider tree those with the most tasks.
_MOST_SCOPES: Final = 1_000
#: Tasks that are drawn: a graph of more is a black square.
_MOST_DRAWN: Final = 200
#: Scopes looked at.
_MOST_LOOKED_AT: Final = 50_000


def scope_tree() -> dict[str, Any]:
    """Return the scopes that own living tasks, each below the one that it was opened in.

    Cost: about half a microsecond a task.
    """
    counts: dict[int, int] = {}
    known: dict[int, Scope] = {}
    unowned = 0
    for loop in installed_loops():
        for task in live_tasks(loop):
            owner = owner_of(task)
            if owner is None:
                unowned += 1
                continue
            counts[id(owner)] = counts.get(id(owner), 0) + 1
            scope: Scope | None = owner
            while scope is not None and id(scope) not in known and len(known) < _MOST_LOOKED_AT:
                known[id(scope)] = scope
                scope = scope.parent
    below: dict[int, int] = dict.fromkeys(known, 0)
    for key, count in counts.items():
        scope = known.get(key)
        while scope is not None:
            below[id(scope)] = below.get(id(scope), 0) + count
            scope = scope.parent
    kept = sorted(known, key=lambda key: (-below[key], known[key].path))[:_MOST_SCOPES]
    shown = set(kept)
    return {
        "scopes": [
            _scope(known[key], counts.get(key, 0), below[key], shown)
            for key in sorted(kept, key=lambda key: (known[key].path, key))
        ],
        "left_out": len(known) - len(kept),
        "unowned": unowned,
    }


def _scope(scope: Scope, own: int, below: int, shown: set[int]) -> dict[str, Any]:
    parent = scope.parent
    told = scope.statistics()
    return {
        "id": f"{id(scope):x}",
        "parent": f"{id(parent):x}" if parent is not None and id(parent) in shown else None,
        "name": scope.name,
        "path": "/".join(scope.path),
        "kind": scope.kind,
        "state": scope.state,
        "own": own,
        "tasks": below,
        "spawned": told.spawned,
        "failed": told.failed,
        "max_tasks": told.max_tasks,
        "age_s": None if scope.opened_at is None else round(now() - scope.opened_at, 3),
        "remaining_s": None if scope.deadline is None else round(scope.deadline - now(), 3),
        "cause": told.cause,
    }


def wait_graph() -> dict[str, Any]:
    """Return who waits for whom, as far as it is evident, and the rings in it that nobody leaves.

    Cost: 10 to 30 microseconds a task, for at most 4,000 tasks of each loop.
    """
    nodes: list[dict[str, Any]] = []
    edges: list[tuple[int, int]] = []
    rings: list[dict[str, object]] = []
    left_out = 0
    for loop in installed_loops():
        found = leak.waits(loop, limit=_MOST_DRAWN)
        first = len(nodes)
        alive = living([one.id for one in found.tasks])
        nodes += [_waiter(one, alive.get(one.id)) for one in found.tasks]
        edges += [(first + one, first + other) for one, other in found.edges]
        left_out += found.left_out
        rings += [one.to_json() for one in leak.deadlocks(loop)]
    return {"tasks": nodes, "edges": edges, "left_out": left_out, "deadlocks": rings}


def _waiter(one: leak.Waiter, task: asyncio.Task[Any] | None) -> dict[str, Any]:
    return {
        "id": "" if task is None else str(numbers.number(task)),
        "name": one.name,
        "coroutine": one.coroutine,
        "site": one.site,
        "owner": "/".join(one.owner_path),
        "age_s": None if one.age is None else round(one.age, 3),
        "blocked_on": one.blocked_on,
        "ring": one.ring,
    }
