"""Whom to ask in a crowd: of each coroutine function the oldest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
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
    groups: dict[int, list[tuple[float, int]]] = {}
    for place, task in enumerate(tasks):
        if not place % _STRIDE:
            breathe()
        code = getattr(task.get_coro(), "cr_code", None)
        card = card_of(task)
        groups.setdefault(id(code), []).append((card[3] if card else 0.0, place))
    return [tasks[place] for group in groups.values() for _, place in sorted(group)[:_PER_CODE]]
