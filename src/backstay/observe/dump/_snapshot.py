"""One look at all tasks of a process, kept as plain values.

It is made to be taken from the admin plane's thread, also while a loop is
blocked: it asks the loops for nothing, and keeps no task, frame or future. The
tasks are counted into groups while they are looked at, so a process with a
hundred thousand tasks needs no more memory for its dump than one with a hundred.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from heapq import heappush, heapreplace
from itertools import chain
from types import CodeType
from typing import Any, NamedTuple, cast

from backstay._base import now, wall
from backstay.leak import Deadlock, find_deadlocks
from backstay.observe.dump._executors import ExecutorSight
from backstay.observe.dump._groups import Group, Member
from backstay.observe.dump._lines import Lines
from backstay.observe.dump._threads import ThreadSight, look_at_threads
from backstay.tasks import (
    BlockedOn,
    Scope,
    SpawnSite,
    await_chain,
    blocked_on,
    info,
    installed_loops,
    live_tasks,
)
from backstay.tasks._tracked_task import card_of

__all__ = ["Dump", "Sight", "sights", "snapshot"]

# Tasks shown one by one, of each group; they are the oldest, which in a leak are the ones that matter.
_EXAMPLES = 3
# Trace ids told per group: enough to find a request in the logs, not a list of all of them.
_TRACES = 5
# Groups with stacks; more would be a document nobody reads, and each costs its example's chain.
_GROUPS_WITH_STACKS = 200
# Of each group, so many more are asked for the numbers behind their wait; where those agree
# they are told for the group.
_OTHERS = 2
# Off the loop's own thread, give way after so many tasks: the application then
# pauses for a few milliseconds at a time and not for the whole dump.
_STRIDE = 256
_BREATH_S = 50e-6

_NO_CARD: tuple[CodeType | None, int, None, None] = (None, -1, None, None)


@dataclass(frozen=True, slots=True)
class Dump:
    """All tasks of a process at one moment, grouped.

    Attributes:
        pid: the process.
        taken_at: unix seconds.
        tasks: how many tasks were alive, left-out groups included.
        groups: most tasks first.
        groups_left_out: how many groups did not fit.
        tasks_left_out: how many tasks these have together.
        deadlocks: tasks that wait for each other, and for whom no timer will end it.
        threads: the threads of the process, main thread first.
        threads_left_out: how many threads did not fit.
        executors: the `ThreadPoolExecutor`s of the process, with what runs in them and waits for them.
    """

    pid: int
    taken_at: float
    tasks: int
    groups: tuple[Group, ...]
    groups_left_out: int
    tasks_left_out: int
    deadlocks: tuple[Deadlock, ...] = ()
    threads: tuple[ThreadSight, ...] = ()
    threads_left_out: int = 0
    executors: tuple[ExecutorSight, ...] = ()


class Sight(NamedTuple):
    """What is seen of one task; it holds the task, so it must not outlive the look.

    Within one look equal sites, definitions and waits are one object, so they may be told apart by identity.
    """

    task: asyncio.Task[Any]
    site: SpawnSite | None  # None: untracked, or started by a bare callback of the loop
    coroutine: str
    definition: str  # "file:line" where the coroutine is defined; "" when unknown
    owner: Scope | None
    age: float | None  # seconds
    state: str  # "waiting", "ready", "running" or "cancelling"
    blocked_on: BlockedOn | None  # without its numbers, which are each task's own


class _Tally:
    """What is known of one group while counting; holds tasks, so it never leaves this file."""

    __slots__ = (
        "age_max",
        "age_min",
        "count",
        "first",
        "kind",
        "oldest",
        "others",
        "path",
        "traces",
    )

    def __init__(self, first: Sight, path: tuple[str, ...], kind: str) -> None:
        self.first = first
        self.path = path
        self.kind = kind
        self.count = 0
        self.age_min = self.age_max = first.age
        self.traces: dict[str, None] = {}
        self.oldest: list[tuple[float, int, asyncio.Task[Any]]] = []
        self.others: list[asyncio.Task[Any]] = []  # a few more, for whether the numbers differ

    def add(self, seen: Sight) -> None:
        self.count += 1
        age = seen.age
        if age is None:
            age = 0.0
        elif self.age_min is None or self.age_max is None:
            self.age_min = self.age_max = age
        elif age < self.age_min:
            self.age_min = age
        elif age > self.age_max:
            self.age_max = age
        if seen.owner is not None and len(self.traces) < _TRACES:
            trace = seen.owner.trace_id
            if trace:
                self.traces[trace] = None
        # The running count keeps the heap from comparing tasks; the earliest of equal age stay.
        if len(self.oldest) < _EXAMPLES:
            heappush(self.oldest, (age, -self.count, seen.task))
        elif age > self.oldest[0][0]:
            heapreplace(self.oldest, (age, -self.count, seen.task))
        elif len(self.others) < _OTHERS:
            self.others.append(seen.task)


def snapshot(
    loops: Iterable[asyncio.AbstractEventLoop] | None = None,
    *,
    stacks: bool = False,
    limit: int = 500,
) -> Dump:
    """Look at all tasks and group them by spawn site, owner and what they wait for.

    Args:
        loops: where to look; all loops that Backstay tracks when omitted.
        stacks: also note the await chain of the oldest tasks of each group.
        limit: how many groups to keep; what is left out is counted.

    Returns:
        A record of strings and numbers, which keeps nothing of the application alive.

    Cost:
        5 to 6 microseconds a task, so some 55 ms for 10,000; half of that again for
        each thousand groups. The application goes on meanwhile (``benchmarks/dump.py``).
    """
    # Listed once for all that follows: to list a hundred thousand tasks takes a while by itself.
    listed = [(loop, live_tasks(loop)) for loop in (installed_loops() if loops is None else loops)]
    tallies: dict[tuple[object, ...], _Tally] = {}
    for seen in _sights(listed):
        owner = seen.owner
        path, kind = ((), "") if owner is None else (owner.path, owner.kind)
        # Places and waits by identity: their texts are long, and hashed once for all.
        place = seen.definition if seen.site is None else seen.site
        key = (id(place), seen.coroutine, path, kind, seen.state, id(seen.blocked_on))
        tally = tallies.get(key)
        if tally is None:
            tally = tallies[key] = _Tally(seen, path, kind)
        tally.add(seen)
    ranked = sorted(tallies.values(), key=lambda tally: -tally.count)
    running, executors, more = look_at_threads(
        {loop: len(tasks) for loop, tasks in listed}, stacks=stacks
    )
    kept = ranked[: min(limit, _GROUPS_WITH_STACKS) if stacks else limit]
    return Dump(
        pid=os.getpid(),
        taken_at=wall(),
        tasks=sum(tally.count for tally in ranked),
        groups=tuple(_group(tally, stacks) for tally in kept),
        groups_left_out=len(ranked) - len(kept),
        tasks_left_out=sum(tally.count for tally in ranked[len(kept) :]),
        deadlocks=tuple(one for loop, tasks in listed for one in find_deadlocks(loop, tasks)),
        threads=tuple(running),
        threads_left_out=more,
        executors=tuple(executors),
    )


def sights(loops: Iterable[asyncio.AbstractEventLoop] | None = None) -> Iterator[Sight]:
    """Look at all tasks that are alive, one by one; from any thread, also while a loop is blocked.

    Args:
        loops: where to look; all loops that Backstay tracks when omitted.

    Cost: see `snapshot`; off the loop's own thread it gives way to the application now and then.
    """
    looked_at = installed_loops() if loops is None else loops
    return _sights((loop, live_tasks(loop)) for loop in looked_at)


def _sights(
    listed: Iterable[tuple[asyncio.AbstractEventLoop, list[asyncio.Task[Any]]]],
) -> Iterator[Sight]:
    from backstay.tasks._wait_reader import WaitReader

    reader, lines = WaitReader(), Lines()
    count = 0
    at = now()
    for loop, tasks in listed:
        own_thread = _runs_here(loop)
        running = _running_task(loop)
        for task in tasks:
            count += 1
            if not own_thread and not count % _STRIDE:
                time.sleep(_BREATH_S)
            if task.done():
                continue
            runs = task is running
            what = None if runs else reader.read(task)
            if runs:
                state = "running"
            elif task.cancelling():
                state = "cancelling"
            else:
                state = "ready" if what is None else "waiting"
            code, lasti, owner, born = card_of(task) or _NO_CARD
            coroutine = task.get_coro()
            yield Sight(
                task,
                None if code is None else lines.site(code, lasti),
                str(getattr(coroutine, "__qualname__", None) or type(coroutine).__name__),
                lines.definition(coroutine),
                cast("Scope | None", owner),
                None if born is None else max(0.0, at - born),
                state,
                what,
            )


def _group(tally: _Tally, stacks: bool) -> Group:
    first, waits = tally.first, tally.first.blocked_on
    oldest = [task for _, _, task in sorted(tally.oldest, key=_by_age, reverse=True)]
    found: list[BlockedOn | None] = []
    members: list[Member] = []
    if stacks:
        for task in oldest:
            what = None if waits is None else blocked_on(task) or waits
            found.append(what)
            members.append(Member.of(info(task), what, await_chain(task)))
    others = tally.others if stacks else [*oldest, *tally.others]
    return Group(
        count=tally.count,
        site=str(first.site) if first.site is not None else None,
        function=first.site.function if first.site is not None else first.coroutine,
        coroutine=first.coroutine,
        definition=first.definition,
        owner_path=tally.path,
        kind=tally.kind,
        state=first.state,
        blocked_on=waits and _with_numbers(waits, chain(found, map(blocked_on, others))),
        running_at=_running_at(tally) if first.state == "running" else None,
        age_min_s=tally.age_min,
        age_max_s=tally.age_max,
        trace_ids=tuple(tally.traces),
        examples=tuple(members),
    )


def _with_numbers(what: BlockedOn, found: Iterable[BlockedOn | None]) -> BlockedOn:
    """Return the wait of a group, with the numbers behind it where those who were asked agree."""
    numbers: str | None = None
    for one in found:
        if one is None or (one.kind, one.label, one.site) != (what.kind, what.label, what.site):
            continue  # it has moved on since it was counted
        if numbers is None:
            numbers = one.detail
        elif one.detail != numbers:  # numbers that differ say nothing of the group
            return what
    return replace(what, detail=numbers) if numbers else what


def _by_age(entry: tuple[float, int, asyncio.Task[Any]]) -> tuple[float, int]:
    return entry[:2]


def _running_at(tally: _Tally) -> str | None:
    """Tell which line blocks the loop right now."""
    stack = await_chain(tally.first.task)
    return f"{stack[-1].file}:{stack[-1].line}" if stack else None


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _running_task(loop: asyncio.AbstractEventLoop) -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task(loop)
    except RuntimeError:
        return None
