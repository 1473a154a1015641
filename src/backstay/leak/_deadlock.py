"""Deadlocks as findings: the whole ring, line by line.

A ring is a proof by itself: each of its tasks waits for the next, so nobody in it
ever goes on, whoever else holds references to their locks. It is STUCK, as what the
prover finds; but where the prover needs the locks to be out of everybody's reach, a
ring may well go through a global lock.

Before anybody is accused, the ring is read twice, since from another thread one look
may see a task before and another one after it moved; and it must not have a way out
by the clock: a timer that cancels or wakes one of its tasks, a deadline of their owner.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from backstay._base import now
from backstay.leak._census import breather
from backstay.leak._elders import elders
from backstay.leak._finding import Finding
from backstay.leak._places import in_words, is_ours, relative
from backstay.leak._rings import ring_through, rings, stuck
from backstay.leak._timers import ended_by_timers
from backstay.leak._wait_graph import WaitGraph
from backstay.leak._waits import Waiter, waiter_of
from backstay.tasks import TaskInfo, blocked_on, info, live_tasks, owner_of

__all__ = ["Deadlock", "deadlocks", "find_deadlocks"]

AnyTask = asyncio.Task[Any]

_MOST_RINGS = 16
_SHOWN = 12  # members of a ring that are told one by one
_MOST_OF_RING = 100  # members that are kept
_BREATH_S = 1e-3  # between the two looks, when the loop runs meanwhile


@dataclass(frozen=True, slots=True)
class Deadlock:
    """Tasks that wait for each other; plain values that keep none of them alive.

    Attributes:
        finding: the accusation, in words.
        ring: a way around: each waits for the next, and the last for the first. A shortest one,
            so that others of the `finding.count` members may not be on it; cut after a hundred.
        behind: how many more wait for the ring without being in it.
    """

    finding: Finding
    ring: tuple[Waiter, ...]
    behind: int


def deadlocks(loop: asyncio.AbstractEventLoop) -> list[Finding]:
    """Accuse the rings of tasks that wait for each other; see `find_deadlocks`."""
    return [one.finding for one in find_deadlocks(loop)]


def find_deadlocks(
    loop: asyncio.AbstractEventLoop, tasks: list[AnyTask] | None = None
) -> list[Deadlock]:
    """Find the rings of tasks that wait for each other; callable from any thread.

    Nothing of them is kept. When the loop runs on so fast that two looks never agree,
    the answer is that there are none: who is in a deadlock stands still.

    Args:
        loop: theirs.
        tasks: its living tasks, for a caller who has just listed them.

    Cost: 5 to 15 microseconds a task, for at most 4,000 tasks.
    """
    try:
        return _look(loop, live_tasks(loop) if tasks is None else tasks)
    except Exception:  # the loop ran on while we looked, and a set changed under our hands
        return []


def _look(loop: asyncio.AbstractEventLoop, tasks: list[AnyTask]) -> list[Deadlock]:
    breathe = breather()
    graph = WaitGraph(loop, elders(tasks, breathe), breathe)
    held_up = stuck(graph.waits)
    found = rings(graph.waits, held_up)
    if not found:
        return []
    if asyncio._get_running_loop() is not loop:
        time.sleep(_BREATH_S)
    suspects = [graph.tasks[key] for key in held_up]
    again = WaitGraph(loop, suspects)
    still = stuck(again.waits)
    # Asked of all that wait, not of the suspects alone: whoever awaits one of them within a time
    # limit will cancel it.
    ended, complete = ended_by_timers([graph.tasks[key] for key in graph.waits], loop)
    if not complete:
        return []
    made: list[Deadlock] = []
    for number, members in enumerate(found[:_MOST_RINGS]):
        unmoved = all(
            key in still and graph.signature(key) == again.signature(key) for key in members
        )
        if not unmoved or any(key in ended or _has_deadline(graph.tasks[key]) for key in members):
            continue
        born = {key: info(graph.tasks[key]).age or 0.0 for key in members}
        keys = ring_through(max(members, key=born.__getitem__), members, graph.waits)
        way = [graph.tasks[key] for key in keys]
        behind = len(_reaching(members, held_up, graph)) - len(members)
        finding = _finding(way, len(members), behind)
        if finding is not None:
            told = tuple(waiter_of(task, number) for task in way[:_MOST_OF_RING])
            made.append(Deadlock(finding, told, behind))
    return made


def _has_deadline(task: AnyTask) -> bool:
    """Tell whether an owner of the task still has a deadline ahead, which will end it."""
    owner = owner_of(task)
    while owner is not None:
        if owner.state != "ended" and owner.deadline is not None and owner.deadline > now():
            return True
        owner = owner.parent
    return False


def _reaching(members: list[int], held_up: set[int], graph: WaitGraph) -> set[int]:
    """Return those who wait for the ring, directly or behind others, with the ring itself."""
    found = set(members)
    before = 0
    while len(found) > before:
        before = len(found)
        found |= {key for key in held_up if not found.isdisjoint(graph.waits[key].on)}
    return found


# -- in words --------------------------------------------------------------------


def _finding(ring: list[AnyTask], count: int, behind: int) -> Finding | None:
    cards = [info(task) for task in ring]
    first = cards[0]
    site, function = _site(first)
    if all(is_ours(_site(card)[0]) for card in cards):
        return None
    waits = [_waits(task) for task in ring]
    names = [_name(card) for card in cards]
    followers = [*names[1:], names[0]]
    alone = len(ring) == 1
    detail = [
        "deadlock: the task waits for what it holds itself, and no timer ends its wait"
        if alone
        else f"deadlock: {count} tasks wait for each other in a ring, and no timer ends any of these waits"
    ]
    detail += [
        f"{name} (started at {relative(_site(card)[0])}) waits for {wait}, held up by {following}"
        for name, card, wait, following in zip(
            names[:_SHOWN], cards, waits, followers, strict=False
        )
    ]
    if count > min(len(ring), _SHOWN):
        detail.append(f"and {count - min(len(ring), _SHOWN)} more in the ring")
    if behind:
        detail.append(f"{behind} more wait behind {'it' if alone else 'them'}")
    traces = dict.fromkeys(card.trace_id for card in cards if card.trace_id)
    return Finding(
        verdict="STUCK",
        count=count,
        alive=count + behind,
        task_name=names[0].strip("'"),
        site=relative(site),
        function=function,
        owner=in_words(first.owner),
        age=max((card.age for card in cards if card.age is not None), default=None),
        blocked_on=waits[0],
        held_by=f"task {followers[0]}",
        trace_ids=tuple(traces)[:5],
        advice=_advice(alone, waits[0]),
        impact=float(count + behind),
        slope_per_s=None,
        detail=tuple(detail),
    )


def _advice(alone: bool, wait: str) -> str:
    if alone:
        return (
            f"It takes {wait} while it has taken it already: take it once, outside, and call code that "
            f"expects it to be held; for places, take all that are needed at once."
        )
    return (
        "Take the locks in one order everywhere: then no ring can close. Where that cannot be, hold none "
        "while waiting for another, or bound the wait with `backstay.timeout`, let go of all and try again. "
        "Until then only a cancel of one of these tasks sets the others free."
    )


def _site(card: TaskInfo) -> tuple[str, str]:
    if card.site is None:
        return card.definition, card.coroutine
    return str(card.site), card.site.function


def _name(card: TaskInfo) -> str:
    unnamed = card.name.startswith("Task-") or card.name == "None"
    return f"'{card.coroutine if unnamed else card.name}'"


def _waits(task: AnyTask) -> str:
    wait = blocked_on(task)
    return "something" if wait is None else f"{wait.label} at {relative(wait.site)}"
