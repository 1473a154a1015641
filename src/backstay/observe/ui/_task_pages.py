"""The pages of tasks: groups with filter and order, the members of one, and one task alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from backstay._base import now
from backstay.observe.ui._survey import Family, Survey
from backstay.observe.ui._task_numbers import numbers
from backstay.tasks import await_chain, blocked_on, info, installed_loops, live_tasks

__all__ = [
    "BadQuery",
    "group_page",
    "living",
    "member_page",
    "one_task",
    "row_of",
    "stack_of",
    "whole",
]

#: Rows in one document, and how far back a page may begin.
MOST_ROWS: Final = 500
#: Calls told of one task; deeper chains are recursion, and told by both ends.
_MOST_STEPS: Final = 100
#: Characters of a filter.
_LONGEST_FILTER: Final = 200

_ORDERS: Final[Mapping[str, Callable[[Family], Any]]] = {
    "count": lambda one: (-one.count, one.site),
    "age": lambda one: (-(one.age_max or 0.0), one.site),
    "site": lambda one: (one.site, -one.count),
    "owner": lambda one: (one.owner_path, -one.count),
    "state": lambda one: (one.state, -one.count),
    "blocked_on": lambda one: (one.blocked_on, -one.count),
}


class BadQuery(ValueError):
    """A parameter that cannot be meant; the message is for whoever asked."""


def whole(query: Mapping[str, str], name: str, standard: int, most: int) -> int:
    """Read a whole number from a query.

    Raises:
        BadQuery: it is none, or out of range.
    """
    text = query.get(name, "") or str(standard)
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) <= most):
        raise BadQuery(f"{name} is {text[:40]!r}: give a whole number from 0 to {most}")
    return int(text)


def group_page(survey: Survey, query: Mapping[str, str]) -> dict[str, Any]:
    """Return one page of the groups.

    Args:
        survey: what was seen.
        query: ``q`` words that must all occur, ``sort``, ``desc=0`` for the other way round,
            ``offset`` and ``limit``.

    Raises:
        BadQuery: a parameter cannot be meant.
    """
    order = query.get("sort", "count")
    if order not in _ORDERS:
        raise BadQuery(f"sort is {order[:40]!r}: there are {', '.join(_ORDERS)}")
    offset = whole(query, "offset", 0, 10_000_000)
    limit = whole(query, "limit", 100, MOST_ROWS)
    words = query.get("q", "")[:_LONGEST_FILTER].lower().split()
    found = [one for one in survey.families if one.has(words)] if words else survey.families
    ranked = sorted(found, key=_ORDERS[order], reverse=query.get("reverse") == "1")
    return {
        **_of(survey),
        "groups": [one.to_json() for one in ranked[offset : offset + limit]],
        "offset": offset,
        "found_groups": len(found),
        "found_tasks": sum(one.count for one in found),
        "groups_left_out": survey.left_out,
    }


def member_page(survey: Survey, key: str, query: Mapping[str, str]) -> dict[str, Any] | None:
    """Return one page of the tasks of a group, with the await chain of the first; None without it.

    Raises:
        BadQuery: a parameter cannot be meant.
    """
    family = next((one for one in survey.families if one.key == key), None)
    if family is None:
        return None
    offset = whole(query, "offset", 0, 10_000_000)
    limit = whole(query, "limit", 100, MOST_ROWS)
    wanted = list(family.ids[offset : offset + limit])
    alive = {
        address: task
        for address, task in living(wanted).items()
        if _is_one_of(task, family)  # an address may have become another task's since the look
    }
    rows = [row_of(alive[one]) if one in alive else {"id": ""} for one in wanted]
    first = next((alive[one] for one in wanted if one in alive), None)
    return {
        **_of(survey),
        "group": family.to_json(),
        "offset": offset,
        "members": rows,
        "stack": [] if first is None else stack_of(first),
    }


def _is_one_of(task: asyncio.Task[Any], family: Family) -> bool:
    known = info(task)
    return (known.coroutine, known.owner_path) == (family.coroutine, family.owner_path)


def one_task(name: str) -> dict[str, Any] | None:
    """Return all that is known of one task; None when it has ended.

    Args:
        name: its id, as a page told it: a number.

    Raises:
        BadQuery: it is no such number.
    """
    if not (name.isascii() and name.isdecimal() and len(name) < 19):
        raise BadQuery(f"id is {name[:40]!r}: give one that /v1/tasks/members has told")
    task = numbers.find(int(name))
    if task is None:
        return None
    known = info(task)
    scopes: list[dict[str, Any]] = []
    scope = known.owner
    while scope is not None and len(scopes) < _MOST_STEPS:
        scopes.append(
            {
                "name": scope.name,
                "kind": scope.kind,
                "state": scope.state,
                "remaining_s": None if scope.deadline is None else scope.deadline - now(),
            }
        )
        scope = scope.parent
    return {
        **row_of(task),
        "coroutine": known.coroutine,
        "definition": known.definition,
        "site": None if known.site is None else str(known.site),
        "function": None if known.site is None else known.site.function,
        "owner": "/".join(known.owner_path),
        "tracked": known.tracked,
        "cancel_by": known.cancel_by,
        "scopes": scopes,
        "stack": stack_of(task),
    }


def _of(survey: Survey) -> dict[str, Any]:
    return {
        "taken_at": round(survey.taken_at, 3),
        "age_s": round(now() - survey.at, 3),
        "cost_s": round(survey.cost_s, 3),
        "tasks": survey.tasks,
    }


def living(wanted: list[int]) -> dict[int, asyncio.Task[Any]]:
    """Return those that are alive; the address of one that has ended may be another's by now."""
    ids = set(wanted)
    return {
        id(task): task for loop in installed_loops() for task in live_tasks(loop) if id(task) in ids
    }


def row_of(task: asyncio.Task[Any]) -> dict[str, Any]:
    """Return what a list tells of a task."""
    known = info(task)
    what = blocked_on(task)
    return {
        "id": str(numbers.number(task)),
        "name": known.name,
        "age_s": None if known.age is None else round(known.age, 3),
        "state": known.state,
        "blocked_on": None if what is None else str(what),
        "trace_id": known.trace_id,
    }


def stack_of(task: asyncio.Task[Any]) -> list[dict[str, Any]]:
    """Return its await chain; of a deep one, both ends."""
    steps = await_chain(task)
    if len(steps) > _MOST_STEPS:
        steps = (*steps[: _MOST_STEPS // 2], *steps[-_MOST_STEPS // 2 :])
    return [{"function": one.function, "file": one.file, "line": one.line} for one in steps]
