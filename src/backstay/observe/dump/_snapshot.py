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
from dataclasses import dataclass
from heapq import heappush, heapreplace
from typing import Any, NamedTuple

from backstay._base import wall
from backstay.observe.dump._groups import Group, GroupKey, Member
from backstay.tasks import (
    BlockedOn,
    TaskInfo,
    await_chain,
    blocked_on,
    info,
    installed_loops,
    live_tasks,
)

__all__ = ["Dump", "Sight", "sights", "snapshot"]

# Tasks shown one by one, of each group; they are the oldest, which in a leak are the ones that matter.
_EXAMPLES = 3
# Trace ids told per group: enough to find a request in the logs, not a list of all of them.
_TRACES = 5
# Groups with stacks; more would be a document nobody reads, and each costs its example's chain.
_GROUPS_WITH_STACKS = 200
# Off the loop's own thread, give way after so many tasks: the application then
# pauses for a few milliseconds at a time and not for the whole dump.
_STRIDE = 128
_BREATH_S = 50e-6


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
    """

    pid: int
    taken_at: float
    tasks: int
    groups: tuple[Group, ...]
    groups_left_out: int
    tasks_left_out: int


class Sight(NamedTuple):
    """What is seen of one task; it holds the task, so it must not outlive the look."""

    task: asyncio.Task[Any]
    info: TaskInfo
    blocked_on: BlockedOn | None
    state: str  # "waiting", "ready", "running" or "cancelling"


class _Tally:
    """What is known of one group while counting; holds tasks, so it never leaves this file."""

    __slots__ = ("age_max", "age_min", "count", "details", "first", "oldest", "trace_ids", "what")

    def __init__(self, first: TaskInfo, what: BlockedOn | None) -> None:
        self.first = first
        self.what = what
        self.count = 0
        self.age_min: float | None = None
        self.age_max: float | None = None
        self.trace_ids: dict[str, None] = {}
        self.details: set[str] = set()
        self.oldest: list[tuple[float, int, asyncio.Task[Any], TaskInfo, BlockedOn | None]] = []

    def add(self, task: asyncio.Task[Any], known: TaskInfo, what: BlockedOn | None) -> None:
        self.count += 1
        age = known.age
        if age is not None:
            if self.age_min is None or age < self.age_min:
                self.age_min = age
            if self.age_max is None or age > self.age_max:
                self.age_max = age
        if known.trace_id and len(self.trace_ids) < _TRACES:
            self.trace_ids[known.trace_id] = None
        if what is not None and len(self.details) < 2:
            self.details.add(what.detail)
        # The running count keeps the heap from comparing tasks; the earliest of equal age stay.
        entry = (age or 0.0, -self.count, task, known, what)
        if len(self.oldest) < _EXAMPLES:
            heappush(self.oldest, entry)
        elif entry[0] > self.oldest[0][0]:
            heapreplace(self.oldest, entry)


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
        20 to 50 microseconds a task, so at most half a second for 10,000; the
        application goes on meanwhile (``benchmarks/dump.py``).
    """
    tallies: dict[GroupKey, _Tally] = {}
    for task, known, what, state in sights(loops):
        key = GroupKey.of(known, what, state)
        tally = tallies.get(key)
        if tally is None:
            tally = tallies[key] = _Tally(known, what)
        tally.add(task, known, what)
    ranked = sorted(tallies.items(), key=lambda item: -item[1].count)
    kept = ranked[: min(limit, _GROUPS_WITH_STACKS) if stacks else limit]
    return Dump(
        pid=os.getpid(),
        taken_at=wall(),
        tasks=sum(tally.count for _, tally in ranked),
        groups=tuple(_group(key, tally, stacks) for key, tally in kept),
        groups_left_out=len(ranked) - len(kept),
        tasks_left_out=sum(tally.count for _, tally in ranked[len(kept) :]),
    )


def sights(loops: Iterable[asyncio.AbstractEventLoop] | None = None) -> Iterator[Sight]:
    """Look at all tasks that are alive, one by one; from any thread, also while a loop is blocked.

    Args:
        loops: where to look; all loops that Backstay tracks when omitted.

    Cost: see `snapshot`; off the loop's own thread it gives way to the application now and then.
    """
    count = 0
    for loop in installed_loops() if loops is None else loops:
        own_thread = _runs_here(loop)
        running = _running_task(loop)
        for task in live_tasks(loop):
            count += 1
            if not own_thread and not count % _STRIDE:
                time.sleep(_BREATH_S)
            known = info(task)
            if known.state == "done":
                continue
            what = None if task is running else blocked_on(task)
            yield Sight(task, known, what, _state(known, what, task is running))


def _group(key: GroupKey, tally: _Tally, stacks: bool) -> Group:
    first, what = tally.first, tally.what
    if what is not None and len(tally.details) > 1:  # numbers that differ say nothing of the group
        what = BlockedOn(what.kind, what.label, "", what.site)
    members: list[Member] = []
    if stacks:
        for _, _, task, known, waits in sorted(
            tally.oldest, key=lambda entry: entry[:2], reverse=True
        ):
            members.append(Member.of(known, waits, await_chain(task)))
    return Group(
        count=tally.count,
        site=str(first.site) if first.site is not None else None,
        function=first.site.function if first.site is not None else first.coroutine,
        coroutine=first.coroutine,
        definition=first.definition,
        owner_path=key.owner_path,
        kind=key.owner_kind,
        state=key.state,
        blocked_on=what,
        running_at=_running_at(tally) if key.state == "running" else None,
        age_min_s=tally.age_min,
        age_max_s=tally.age_max,
        trace_ids=tuple(tally.trace_ids),
        examples=tuple(members),
    )


def _running_at(tally: _Tally) -> str | None:
    """Tell which line blocks the loop right now."""
    stack = await_chain(tally.oldest[0][2])
    return f"{stack[-1].file}:{stack[-1].line}" if stack else None


def _state(known: TaskInfo, what: BlockedOn | None, running: bool) -> str:
    if running:
        return "running"
    if known.state == "cancelling":
        return "cancelling"
    return "waiting" if what is not None else "ready"


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
