"""`go`: the one door through which code starts a task in the scope around it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from backstay.errors import NoOwner
from backstay.tasks._scope import current_scope

__all__ = ["go"]

P = ParamSpec("P")
T = TypeVar("T")


def go(fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> asyncio.Task[T]:
    """Start `fn(*args)` as a task of the current scope and return it at once.

    Returns:
        The task; await it for the result, or let the scope wait for it.

    Raises:
        NoOwner: no scope is open around the caller.
        FullError: the scope has `max_tasks` live tasks.
        ScopeClosed: the scope around the caller has ended.
    """
    scope = current_scope()
    if scope is None:
        name = getattr(fn, "__qualname__", repr(fn))
        raise NoOwner(
            f"go({name}) was called where no scope is open, so nobody would own the task: "
            f"put it inside 'async with Scope(...)', or start the program with backstay.run(main)"
        )
    return scope.go(fn, *args, **kwargs)
