"""Who waits for a lock, and who has it: what a profile of contention samples."""

from __future__ import annotations

import asyncio
from typing import Any

from backstay.leak._census import breather
from backstay.leak._elders import elders
from backstay.leak._wait_graph import WaitGraph
from backstay.tasks import live_tasks

__all__ = ["contention"]

AnyTask = asyncio.Task[Any]


def contention(loop: asyncio.AbstractEventLoop) -> list[tuple[AnyTask, tuple[AnyTask, ...]]]:
    """Return each task that waits for a lock, a place or a connection, with those that have them.

    Only what is evident, as in `waits`: of the holders of an `asyncio.Lock` those that are in its block. One look;
    callable from any thread. It returns living tasks: let go of them at once.

    Args:
        loop: theirs.

    Returns:
        Empty when the loop ran on too fast to be read.

    Cost: 5 to 15 microseconds a task, for at most 4,000 tasks.
    """
    breathe = breather()
    try:
        graph = WaitGraph(loop, elders(live_tasks(loop), breathe), breathe)
    except RuntimeError:  # the loop ran on while we looked, and a set changed under our hands
        return []
    return [
        (graph.tasks[key], tuple(graph.tasks[holder] for holder in graph.waits[key].on))
        for key in graph.contended
    ]
