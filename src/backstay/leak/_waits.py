"""Who waits for whom, as plain values that can be drawn."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from backstay.leak._census import breather
from backstay.leak._elders import elders
from backstay.leak._rings import rings, stuck
from backstay.leak._wait_graph import WaitGraph
from backstay.tasks import blocked_on, info, live_tasks

__all__ = ["Waiter", "Waits", "waiter_of", "waits"]


@dataclass(frozen=True, slots=True)
class Waiter:
    """A task that waits for another, or that another waits for."""

    id: int  # its address
    name: str
    coroutine: str
    site: str  # spawn site; where the coroutine is defined when nobody's line started it
    owner_path: tuple[str, ...]
    age: float | None  # seconds
    blocked_on: str  # with numbers and await site; "" when it does not wait
    ring: int  # number of the ring that it is in; -1 for none
    await_site: str = ""  # "path:line", absolute; "" when it does not wait


@dataclass(frozen=True, slots=True)
class Waits:
    """Who waits for whom on one loop.

    Attributes:
        tasks: those that wait for another or are waited for, members of rings first.
        edges: pairs of places in `tasks`: the first waits for the second.
        left_out: how many tasks did not fit.
    """

    tasks: tuple[Waiter, ...]
    edges: tuple[tuple[int, int], ...]
    left_out: int


def waits(loop: asyncio.AbstractEventLoop, *, limit: int = 200) -> Waits:
    """Tell who waits for whom, as far as it is evident; callable from any thread.

    It is one look: what `deadlocks` accuses, it has seen twice, and no timer ends it; a ring here
    may still have a way out by the clock.

    Args:
        loop: theirs.
        limit: how many tasks are told.

    Returns:
        Plain values, which keep no task alive. Empty when the loop ran on too fast to be read.

    Cost: 5 to 15 microseconds a task, for at most 4,000 tasks.
    """
    try:
        return _look(loop, limit)
    except RuntimeError:  # the loop ran on while we looked, and a set changed under our hands
        return Waits((), (), 0)


def _look(loop: asyncio.AbstractEventLoop, limit: int) -> Waits:
    breathe = breather()
    graph = WaitGraph(loop, elders(live_tasks(loop), breathe), breathe)
    ring_of = {
        key: number
        for number, ring in enumerate(rings(graph.waits, stuck(graph.waits)))
        for key in ring
    }
    involved = dict.fromkeys(ring_of)
    for key, wait in graph.waits.items():
        involved.update(dict.fromkeys((key, *wait.on)))
    shown = list(involved)[:limit]
    place = {key: number for number, key in enumerate(shown)}
    return Waits(
        tuple(waiter_of(graph.tasks[key], ring_of.get(key, -1)) for key in shown),
        tuple(_edges(graph, place)),
        len(involved) - len(shown),
    )


def _edges(graph: WaitGraph, place: dict[int, int]) -> Iterable[tuple[int, int]]:
    for key, wait in graph.waits.items():
        for holder in dict.fromkeys(wait.on):
            if key in place and holder in place:
                yield place[key], place[holder]


def waiter_of(task: asyncio.Task[Any], ring: int) -> Waiter:
    """Describe one who waits, or is waited for."""
    known, what = info(task), blocked_on(task)
    return Waiter(
        id=id(task),
        name=known.name,
        coroutine=known.coroutine,
        site=str(known.site) if known.site is not None else known.definition,
        owner_path=known.owner_path,
        age=known.age,
        blocked_on="" if what is None else str(what),
        ring=ring,
        await_site="" if what is None else what.site,
    )
