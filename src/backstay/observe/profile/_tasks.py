"""The `task` profile: every task by await chain, spawn site, owner and what it waits for.

It is what `goroutine` is in Go, and answers to that name too. Taken from any
thread, also while the loop is blocked; tasks become strings one by one, so
nothing of them is kept.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from backstay._base import wall
from backstay.observe.profile._profile import Frame, Labels, Profile, Stack, Table, add, gathered
from backstay.tasks import (
    Scope,
    await_chain,
    blocked_on,
    info,
    installed_loops,
    live_tasks,
)

__all__ = ["KINDS", "TaskLine", "profile_of", "route_of", "task_lines"]

KINDS = (("tasks", "count"),)

# Off the loop's own thread, give way after so many tasks; see `observe.dump`.
_STRIDE = 128
_BREATH_S = 50e-6


@dataclass(frozen=True, slots=True)
class TaskLine:
    """One task, as text."""

    name: str
    state: str  # "waiting", "ready", "running", "cancelling", or a verdict
    stack: Stack  # innermost first
    site: str = ""  # "file:line" that started it; "" when unknown
    function: str = ""  # the function that contains that line
    owner: str = ""
    route: str = ""
    wait: str = ""  # such as "queue get"; "" when it does not wait
    wait_site: str = ""
    age_s: float | None = None
    trace_id: str | None = None
    notes: tuple[str, ...] = ()  # what else there is to say, a sentence each

    def labels(self) -> Labels:
        """Return what a sample of it is labelled with: what many tasks have in common."""
        pairs = (
            ("site", self.site),
            ("owner", self.owner),
            ("route", self.route),
            ("state", self.state),
            ("wait", self.wait),
        )
        return tuple((name, value) for name, value in pairs if value)


def task_lines(loops: Iterable[asyncio.AbstractEventLoop] | None = None) -> Iterator[TaskLine]:
    """Look at every task, one after the other.

    Args:
        loops: whose; all that are tracked when omitted.

    Cost: 20 to 50 microseconds a task, so at most half a second for 10,000; the
        application goes on meanwhile.
    """
    count = 0
    for loop in installed_loops() if loops is None else loops:
        own_thread = asyncio._get_running_loop() is loop
        running = running_task(loop)
        for task in live_tasks(loop):
            count += 1
            if not own_thread and not count % _STRIDE:
                time.sleep(_BREATH_S)
            line = line_of(task, running=task is running)
            if line is not None:
                yield line


def line_of(task: asyncio.Task[Any], *, running: bool) -> TaskLine | None:
    """Look at one task; None when it has ended."""
    known = info(task)
    if known.state == "done":
        return None
    what = None if running else blocked_on(task)
    if running:
        state = "running"
    elif known.state == "cancelling":
        state = "cancelling"
    else:
        state = "waiting" if what is not None else "ready"
    owner = known.owner
    return TaskLine(
        name=known.name,
        state=state,
        stack=tuple(Frame(*step) for step in _steps(task)),
        site=str(known.site) if known.site is not None else "",
        function=known.site.function if known.site is not None else known.coroutine,
        owner=owner.name if owner is not None else "",
        route=route_of(owner),
        wait=what.label if what is not None else "",
        wait_site=what.site if what is not None else "",
        age_s=known.age,
        trace_id=known.trace_id,
        notes=(f"cancelled by {known.cancel_by}",) if known.cancel_by else (),
    )


def _steps(task: asyncio.Task[Any]) -> Iterator[tuple[str, str, int]]:
    return ((step.function, step.file, step.line) for step in reversed(await_chain(task)))


def route_of(owner: Scope | None) -> str:
    """Return the name of the request around an owner, "" outside of requests."""
    while owner is not None:
        if owner.kind == "request":
            return owner.name
        owner = owner.parent
    return ""


def running_task(loop: asyncio.AbstractEventLoop) -> asyncio.Task[Any] | None:
    """Return the task that runs on a loop right now, asked from any thread."""
    try:
        return asyncio.current_task(loop)
    except RuntimeError:
        return None


def profile_of(lines: Iterable[TaskLine], comments: tuple[str, ...] = ()) -> Profile:
    """Count tasks that have everything in common but their names and ages."""
    table: Table = {}
    for line in lines:
        add(table, (line.stack, line.labels()), (1,))
    return Profile(KINDS, gathered(table), KINDS[0], 1, taken_at=wall(), comments=comments)
