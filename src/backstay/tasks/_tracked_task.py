"""The identity card that every tracked task carries.

Four slots and no registry: `asyncio.all_tasks()` already lists the living, so
all that has to be added at birth is where, when and for whom. Everything else
(line numbers, names, wait chains) is worked out when somebody looks. Measured
against the alternatives, slots on a subclass were both the fastest and the
smallest; a side table costs ten times the memory.
"""

from __future__ import annotations

import asyncio
import sys
from types import CodeType, FrameType
from typing import Any
from weakref import WeakKeyDictionary

from backstay._base import now
from backstay.tasks._owner import Owner

__all__ = [
    "CancelStamp",
    "Card",
    "TrackedTask",
    "cancel_again",
    "cancel_stamp",
    "card_of",
    "set_card",
    "set_owner",
    "stamp_cancel",
]

Card = tuple[CodeType | None, int, Owner | None, float]
"""Spawning code, instruction offset in it, owner, birth (seconds on `now()`'s clock)."""

CancelStamp = tuple[str, float]
"""Who asked, and when (seconds on `now()`'s clock)."""


class TrackedTask(asyncio.Task[Any]):
    """An `asyncio.Task` that knows where, when and for whom it was started."""

    # No more slots than these: each is 8 bytes on every live task, and the budget is 60.
    __slots__ = ("_born", "_lasti", "_owner", "_site")

    _site: CodeType | None  # code object that spawned us; resolved to a line only on demand
    _lasti: int  # offset of the spawning instruction in `_site`
    _owner: Owner | None
    _born: float  # seconds on now()'s clock, coarse to one tick

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel as asyncio does, and remember who asked first and when."""
        accepted = super().cancel(msg)
        if accepted:
            stamp_cancel(self, None)
        return accepted

    if (3, 13) <= sys.version_info < (3, 14):

        def set_name(self, value: object) -> None:
            """Set the name; None is not one.

            This version names each task that a factory made, "None" where no name was
            given (https://github.com/python/cpython/issues/130033), and at least up to 3.13.5.
            """
            if value is not None:
                super().set_name(value)


# Tasks made by a foreign factory that we chain with have no slots of ours.
_foreign: WeakKeyDictionary[asyncio.Task[Any], Card] = WeakKeyDictionary()


def card_of(task: asyncio.Task[Any]) -> Card | None:
    """Return the task's identity card, or None when it was started before tracking."""
    if isinstance(task, TrackedTask):
        try:
            return task._site, task._lasti, task._owner, task._born
        except AttributeError:
            return None  # an eager task looked at during its own first step
    return _foreign.get(task)


def set_card(task: asyncio.Task[Any], card: Card) -> None:
    """Give `task` its identity card."""
    if isinstance(task, TrackedTask):
        task._site, task._lasti, task._owner, task._born = card
    else:
        _foreign[task] = card


def set_owner(task: asyncio.Task[Any], owner: Owner) -> None:
    """Hand a task to another owner; the rest of its card stays."""
    site, lasti, _, born = card_of(task) or (None, -1, None, now())
    set_card(task, (site, lasti, owner, born))


def stamp_cancel(task: asyncio.Task[Any], by: str | None) -> None:
    """Note who asked `task` to end; of cancels that still count the first asker stays.

    A cancel that was taken back (a timeout inside the task that it caught) counts
    no more, and a dump must not show a healthy task as one that refuses to end.

    Args:
        task: who has just been cancelled.
        by: the asker in words; None to name the running task, or the calling line.
    """
    stamp: CancelStamp | None = getattr(task, "_backstay_cancel", None)
    if stamp is not None and task.cancelling() > 1:
        return
    # The task's own __dict__ costs nothing until it is used, and few tasks are cancelled.
    setattr(task, "_backstay_cancel", (by or _asker(), now()))


def cancel_stamp(task: asyncio.Task[Any]) -> CancelStamp | None:
    """Return who has asked `task` to end, and when; None when nobody has, or has taken it back."""
    return getattr(task, "_backstay_cancel", None) if task.cancelling() else None


def cancel_again(task: asyncio.Task[Any], message: object = None) -> None:
    """Deliver a cancel that is on the account of `task` already; who asked stays who asked."""
    stamp: CancelStamp | None = getattr(task, "_backstay_cancel", None)
    task.uncancel()
    task.cancel(message)
    if stamp is not None:
        setattr(task, "_backstay_cancel", stamp)


def _asker() -> str:
    try:
        asker = asyncio.current_task()
    except RuntimeError:
        asker = None  # called from a thread, or from a callback of no loop
    if asker is not None:
        name = asker.get_name()
        if name.startswith("Task-"):  # a number says nothing to a reader
            return f"task {name!r} ({getattr(asker.get_coro(), '__qualname__', '')})"
        return f"task {name!r}"
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if frame.f_code.co_name == "_cancel_all_tasks":
            return "the event loop, at its end"
        if module in _OF_THE_LOOP:
            return _OF_THE_LOOP[module]
        if not module.startswith(("asyncio.", "backstay.tasks.")):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return "the event loop"


# Where no line of the program's own asks. Above them stands the line that runs the loop, which has
# nothing to do with it.
_OF_THE_LOOP = {
    "asyncio.timeouts": "a time limit (asyncio.timeout)",
    "asyncio.events": "a callback of the event loop",
    "asyncio.runners": "a callback of the event loop",
    "uvloop": "a callback of the event loop",
}
