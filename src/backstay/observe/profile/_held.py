"""The `held` profile: the memory that tasks hold, by the line that started them and by their owner.

A heap profile says which line has allocated what is there; this one says whose work keeps it. Both are asked in a
leak: the allocation is often in a library that is not to blame.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from backstay._base import wall
from backstay.leak import memory_held
from backstay.observe.profile._profile import Profile, Table, add, gathered
from backstay.observe.profile._tasks import TaskLine, line_of, running_task
from backstay.tasks import installed_loops, live_tasks

__all__ = ["HELD_KINDS", "held_profile"]

HELD_KINDS: Final = (("tasks", "count"), ("held", "bytes"))

#: Tasks of a group that are asked; they are much alike.
_ASKED: Final = 16
#: Groups that are weighed, the largest first; the others are counted only.
_WEIGHED: Final = 100
# Off the loop's own thread, give way after so many tasks, and after each group.
_STRIDE: Final = 128
_BREATH_S: Final = 50e-6


@dataclass(slots=True)
class _Group:
    line: TaskLine  # of the first of them
    count: int = 0
    some: list[asyncio.Task[Any]] = field(default_factory=list[asyncio.Task[Any]])


def held_profile() -> Profile:
    """Estimate what the tasks of each spawn site, owner and await chain hold that nobody else does.

    Returns:
        Tasks and bytes. The bytes are a lower bound: what is shared with others is nobody's. Sixteen tasks of a group
        are asked and speak for the rest; beyond a hundred groups the smaller ones are counted and not weighed.

    Cost: 20 to 50 microseconds a task, and some milliseconds for each group; the application goes on meanwhile.
    """
    table: Table = {}
    unweighed = 0
    groups = _groups()
    for place, group in enumerate(sorted(groups.values(), key=lambda one: -one.count)):
        held = 0
        if place < _WEIGHED:
            held = memory_held(group.some).bytes_each * group.count
            time.sleep(_BREATH_S)
        else:
            unweighed += 1
        group.some.clear()
        add(table, (group.line.stack, group.line.labels()), (group.count, held))
    comments = ["a lower bound: what others refer to as well is not counted"]
    if unweighed:
        comments.append(f"{unweighed} smaller groups were counted and not weighed")
    return Profile(
        HELD_KINDS,
        gathered(table),
        HELD_KINDS[1],
        1,
        taken_at=wall(),
        comments=tuple(comments),
        default="held",
    )


def _groups() -> dict[Any, _Group]:
    groups: dict[Any, _Group] = {}
    for task, running in _tasks():
        line = line_of(task, running=running)
        if line is None:
            continue
        group = groups.setdefault((line.stack, line.labels()), _Group(line))
        group.count += 1
        if len(group.some) < _ASKED:
            group.some.append(task)
    return groups


def _tasks() -> Iterator[tuple[asyncio.Task[Any], bool]]:
    """Yield each living task, and whether it runs."""
    count = 0
    for loop in installed_loops():
        own_thread = asyncio._get_running_loop() is loop
        running = running_task(loop)
        for task in live_tasks(loop):
            count += 1
            if not own_thread and not count % _STRIDE:
                time.sleep(_BREATH_S)
            yield task, task is running
