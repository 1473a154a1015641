"""UNDEAD: somebody asked the task to end, it heard, and it is still there.

A cancel is a request. Between the request and the end lies clean-up, so there
is a grace; and a cancel may be taken back (`uncancel`, as a `timeout` block does
with its own), which the stamp on the task knows already.

Two look-alikes are left. On a loop that is blocked, or that has not turned since,
nobody has heard anything yet, however long ago it was said. asyncio keeps such
a cancel in one of two places: on the task, to be thrown at its next step, or in
the future that the task waits for, which is cancelled and has not yet woken it.

And a cancel is handed down: whoever awaits a task, a `gather` or a task group hands it to
these, and waits for their end as it should. Then they decide, and only they are accused.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterable
from typing import Any

from backstay.tasks._await_chain import code_names, kind_of, walk
from backstay.tasks._tracked_task import CancelStamp, cancel_stamp

__all__ = ["heard_of", "is_undead", "refuses_to_end", "was_handed_down"]

_GROUP_EXITS = frozenset({"TaskGroup.__aexit__", "TaskGroup._aexit"})


def refuses_to_end(task: asyncio.Task[Any], at: float, grace: float) -> bool:
    """Tell whether a living task that was asked to end is UNDEAD; see `is_undead`."""
    return is_undead(cancel_stamp(task), at, grace, heard_of(task)) and not was_handed_down(task)


def is_undead(stamp: CancelStamp | None, at: float, grace: float, heard: bool) -> bool:
    """Decide whether a living task has refused to end.

    Args:
        stamp: who asked it to end, and when; None when nobody did, or took it back.
        at: the present, seconds on the clock of `now()`.
        grace: seconds that its clean-up may take.
        heard: whether the cancel has reached the task's own code.
    """
    return stamp is not None and heard and at - stamp[1] > grace


def heard_of(task: asyncio.Task[Any]) -> bool:
    """Tell whether every cancel of `task` has been thrown into its coroutine by now."""
    if getattr(task, "_must_cancel", False):
        return False
    waiting_for = getattr(task, "_fut_waiter", None)
    return getattr(waiting_for, "_state", "") != "CANCELLED"


def was_handed_down(task: asyncio.Task[Any]) -> bool:
    """Tell whether `task` waits for tasks that were asked to end as well, and have not yet.

    Cost: a microsecond; some ten for a task that waits for a task group.
    """
    waiting_for: Any = getattr(task, "_fut_waiter", None)
    kind = kind_of(waiting_for)
    if issubclass(kind, asyncio.Task):
        return _any_asked([waiting_for])
    if issubclass(kind, asyncio.tasks._GatheringFuture):  # type: ignore[attr-defined]  # no public name
        return _any_asked(waiting_for._children)
    links = walk(task).links
    if links and code_names(links[-1])[2] in _GROUP_EXITS:
        for thing in gc.get_referents(links[-1]):
            if issubclass(kind_of(thing), asyncio.TaskGroup):
                return _any_asked(thing._tasks)
    return False


def _any_asked(tasks: Iterable[Any]) -> bool:
    return any(
        issubclass(kind_of(one), asyncio.Task) and not one.done() and one.cancelling()
        for one in list(tasks)
    )
