"""Whom to ask in a crowd: of each coroutine function the oldest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import heappush, heapreplace
from typing import Any

from backstay.tasks._tracked_task import card_of

__all__ = ["elders"]

AnyTask = asyncio.Task[Any]

_ASKED_OF_ALL = (
    1_000  # so many tasks are all asked; of more, `_PER_CODE` of each coroutine function
)
_PER_CODE = 64
_STRIDE = 512


def elders(tasks: list[AnyTask], breathe: Callable[[], None] = lambda: None) -> list[AnyTask]:
    """Return all tasks of a small loop; of a crowd the 64 oldest of each coroutine function.

    In a leak and in a deadlock they are the ones that matter.

    Args:
        tasks: whom to choose from.
        breathe: called now and then, so that others may run.

    Cost: half a microsecond a task.
    """
    if len(tasks) <= _ASKED_OF_ALL:
        return tasks
    # Of each group a heap whose first is the youngest; places count downwards as well, so that of
    # equal age the earlier stay. Nothing is kept of the others: a crowd would make the collector run.
    groups: dict[int, list[tuple[float, int]]] = {}
    for place, task in enumerate(tasks):
        if not place % _STRIDE:
            breathe()
        code = getattr(task.get_coro(), "cr_code", None)
        card = card_of(task)
        born = card[3] if card else 0.0
        group = groups.setdefault(id(code), [])
        if len(group) < _PER_CODE:
            heappush(group, (-born, -place))
        elif born < -group[0][0]:
            heapreplace(group, (-born, -place))
    return [tasks[-place] for group in groups.values() for _, place in sorted(group, reverse=True)]
