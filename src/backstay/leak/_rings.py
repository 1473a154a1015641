"""Who waits for whom in a ring: the deadlocks of a wait-for graph, as arithmetic.

Two sorts of waiting. Behind a lock, a task goes on when *every* one of its holders
lets go; so it is stuck as soon as one of them is. Behind a semaphore or a group of
tasks it may go on as soon as *any* of them does; so it is stuck only when all are.

Stuck is the largest set of tasks that hold each other up by these rules: begin with
all that wait for known tasks, and take out who may go on, until nobody is left to
be taken out. (E. G. Coffman, M. J. Elphick, A. Shoshani, "System Deadlocks",
Computing Surveys 3(2), 1971; the graph with both sorts is R. C. Holt's of 1972.)
A task that is not known to wait for anybody may go on; so what is not known can
only acquit.

Some of the stuck merely wait behind the others. The rings themselves are the
strongly connected parts (R. Tarjan, SIAM J. Computing 1(2), 1972).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import NamedTuple

__all__ = ["Wait", "ring_through", "rings", "stuck"]


class Wait(NamedTuple):
    """What one task waits for."""

    on: tuple[int, ...]  # whom; tasks are numbers here
    any_frees: bool  # one of them is enough to let it go on


def stuck(waits: Mapping[int, Wait]) -> set[int]:
    """Return those who can never go on if nobody from outside steps in.

    Cost: linear in tasks and waits.
    """
    behind: dict[int, list[int]] = {}
    for who, wait in waits.items():
        for holder in wait.on:
            behind.setdefault(holder, []).append(who)
    left = {who: len(set(wait.on)) for who, wait in waits.items()}
    free = [who for who in behind if who not in waits] + [who for who in waits if not left[who]]
    gone = set(free)
    while free:
        holder = free.pop()
        for who in set(behind.get(holder, ())):
            if who in gone:
                continue
            left[who] -= 1
            if waits[who].any_frees or not left[who]:
                gone.add(who)
                free.append(who)
    return set(waits) - gone


def rings(waits: Mapping[int, Wait], held_up: set[int]) -> list[list[int]]:
    """Return the rings among those who are stuck; members in the order of `waits`.

    Args:
        waits: who waits for whom.
        held_up: what `stuck` said.
    """
    order = {who: place for place, who in enumerate(waits)}
    ways = {who: [one for one in waits[who].on if one in held_up] for who in held_up}
    found = [sorted(part, key=order.__getitem__) for part in _components(ways)]
    closed = [part for part in found if len(part) > 1 or part[0] in ways[part[0]]]
    return sorted(closed, key=lambda part: order[part[0]])


def ring_through(first: int, members: list[int], waits: Mapping[int, Wait]) -> list[int]:
    """Return a shortest way from `first` around the ring: each waits for the next, the last for it."""
    inside = set(members)
    came_from: dict[int, int] = {}
    todo: deque[int] = deque([first])
    while todo:
        here = todo.popleft()
        for holder in waits[here].on:
            if holder == first:
                way = [here]
                while way[-1] != first:
                    way.append(came_from[way[-1]])
                return way[::-1]
            if holder in inside and holder not in came_from:
                came_from[holder] = here
                todo.append(holder)
    return members


def _components(ways: Mapping[int, list[int]]) -> Iterator[list[int]]:
    """Yield the strongly connected parts; iterative, since a chain may be ten thousand long."""
    number: dict[int, int] = {}
    low: dict[int, int] = {}
    path: list[int] = []
    on_path: set[int] = set()
    for root in ways:
        if root in number:
            continue
        work: list[tuple[int, Iterator[int]]] = []
        todo: list[int] = [root]
        while todo or work:
            if todo:
                here = todo.pop()
                number[here] = low[here] = len(number)
                path.append(here)
                on_path.add(here)
                work.append((here, iter(ways[here])))
            here, onwards = work[-1]
            for there in onwards:
                if there not in number:
                    todo.append(there)
                    break
                if there in on_path:
                    low[here] = min(low[here], number[there])
            if todo:
                continue
            work.pop()
            if work:
                above = work[-1][0]
                low[above] = min(low[above], low[here])
            if low[here] == number[here]:
                part: list[int] = []
                while not part or part[-1] != here:
                    part.append(path.pop())
                    on_path.discard(part[-1])
                yield part
