"""UNDEAD: somebody asked the task to end, it heard, and it is still there.

A cancel is a request. Between the request and the end lies clean-up, so there
is a grace; and a cancel may be taken back (`uncancel`, as a `timeout` block does
with its own), which the stamp on the task knows already.

One look-alike is left: on a loop that is blocked, or that has not turned since,
nobody has heard anything yet, however long ago it was said. asyncio keeps such
a cancel in one of two places: on the task, to be thrown at its next step, or in
the future that the task waits for, which is cancelled and has not yet woken it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from backstay.tasks._tracked_task import CancelStamp

__all__ = ["heard_of", "is_undead"]


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
