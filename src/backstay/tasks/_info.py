"""What is known about a task, for people and for the rooms above."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Literal, cast

from backstay._base import now
from backstay.tasks._scope import Scope
from backstay.tasks._spawn_site import SpawnSite, resolve_site
from backstay.tasks._tracked_task import cancel_stamp, card_of
from backstay.tasks._tracking import live_tasks

__all__ = ["TaskInfo", "info", "owned_by", "owner_of"]


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """A task's identity card, readable.

    It holds no reference to the task, its coroutine or a frame, so keeping it
    keeps nothing alive but the owner's small record.
    """

    name: str
    coroutine: str  # qualified name of the coroutine function
    definition: str  # "file:line" where that function is defined; "" when unknown
    state: Literal["pending", "cancelling", "done"]
    tracked: bool  # False: started before install(), so site, owner and age are unknown
    site: SpawnSite | None  # None: untracked, or started by a bare callback of the loop
    owner: Scope | None
    owner_path: tuple[str, ...]
    born: float | None  # seconds on the clock of now(), to about a second
    age: float | None  # seconds
    trace_id: str | None  # trace of the request that spawned it
    cancel_by: str | None  # who asked it to end, first; None once that was taken back
    cancel_at: float | None  # seconds on the clock of now()


def info(task: asyncio.Task[Any]) -> TaskInfo:
    """Describe a task; callable from any thread, for untracked tasks too.

    Cost: a few microseconds; the line number is worked out here and not at spawn.
    """
    card = card_of(task)
    code, lasti, _, born = card or (None, -1, None, None)
    owner = owner_of(task)
    stamp = cancel_stamp(task)
    coroutine = task.get_coro()
    return TaskInfo(
        name=task.get_name(),
        coroutine=str(getattr(coroutine, "__qualname__", type(coroutine).__name__)),
        definition=_definition(coroutine),
        state="done" if task.done() else "cancelling" if task.cancelling() else "pending",
        tracked=card is not None,
        site=resolve_site(code, lasti),
        owner=owner,
        owner_path=owner.path if owner is not None else (),
        born=born,
        age=None if born is None else max(0.0, now() - born),
        trace_id=owner.trace_id if owner is not None else None,
        cancel_by=stamp[0] if stamp else None,
        cancel_at=stamp[1] if stamp else None,
    )


def _definition(coroutine: object) -> str:
    code = getattr(coroutine, "cr_code", None) or getattr(coroutine, "gi_code", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else ""


def owner_of(task: asyncio.Task[Any]) -> Scope | None:
    """Return the scope that owns `task`, without working out anything else."""
    card = card_of(task)
    return cast("Scope | None", card[2]) if card is not None else None


def owned_by(scope: Scope) -> list[asyncio.Task[Any]]:
    """Return the live tasks of the running loop that belong to `scope` or to a scope inside it.

    Cost: looks at every live task of the loop (about 0.3 microseconds each). Ask only
    where `scope.raw_spawned` says that there may be any, and for many scopes at
    once look at `live_tasks` and `owner_of` yourself.
    """
    found: list[asyncio.Task[Any]] = []
    for task in live_tasks(asyncio.get_running_loop()):
        owner = owner_of(task)
        while owner is not None and owner is not scope:
            owner = owner.parent
        if owner is scope:
            found.append(task)
    return found
