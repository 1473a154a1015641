"""`adopt`: a task that is alive changes its owner."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import Any

from backstay.errors import NoOwner, ScopeMisuse
from backstay.tasks._scope import Scope, current_scope
from backstay.tasks._tracked_task import card_of, set_owner

__all__ = ["adopt"]


def adopt(task: asyncio.Task[Any], scope: Scope | None = None) -> None:
    """Make `scope` (the current one when omitted) the owner of a task that is already alive.

    From now on the scope waits for it, or cancels it, like its own children. A
    scope that had started it with `go` lets it go: one task has one owner. The
    limit of `max_tasks` is not asked, since the task is there already.

    Raises:
        NoOwner: no scope was given and none is open around the caller.
        ScopeClosed: the scope has ended or is being cut short.
        ScopeMisuse: the scope lives inside the task, or in another loop: it would
            wait for itself, or for ever.
    """
    scope = scope or current_scope()
    if scope is None:
        raise NoOwner("adopt() needs a scope: pass one, or call it inside 'async with Scope(...)'")
    scope._check_can_spawn()
    _check_not_inside(task, scope)
    card = card_of(task)
    former = None if card is None else card[2]
    set_owner(task, scope)
    if task in scope._children or task.done():
        return
    scope._spawned += 1
    scope._children.add(task)
    # An empty context, or the task would keep the caller's values alive as long as it lives.
    task.add_done_callback(scope._on_child_done, context=Context())
    if isinstance(former, Scope):
        _let_go(task, former)


def _check_not_inside(task: asyncio.Task[Any], scope: Scope) -> None:
    if task.get_loop() is not scope._loop:
        raise ScopeMisuse(
            f"scope {scope.name!r} cannot adopt task {task.get_name()!r} of another event loop: "
            f"use a scope of the task's own loop"
        )
    around: Scope | None = scope
    while around is not None:
        if around._host is task:
            raise ScopeMisuse(
                f"scope {scope.name!r} cannot adopt task {task.get_name()!r}: the scope lives "
                f"inside that task, and each would wait for the other; adopt it from outside"
            )
        around = around.parent


def _let_go(task: asyncio.Task[Any], former: Scope) -> None:
    if task in former._children:
        task.remove_done_callback(former._on_child_done)
        former._forget(task)
