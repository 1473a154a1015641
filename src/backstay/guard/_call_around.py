"""A guard as a decorator: signature, name and kind of the function stay as they are."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

__all__ = ["call_around", "check_async"]

P = ParamSpec("P")
T = TypeVar("T")


def call_around(
    call: Callable[..., Awaitable[Any]], fn: Callable[P, Awaitable[T]]
) -> Callable[P, Awaitable[T]]:
    """Return `fn` such that calling it is ``call(fn, ...)``.

    Frameworks ask whether a function is a coroutine function and run it in a thread
    when it is not. From Python 3.12 on a plain function can say that it is one, which
    saves the frame of a coroutine for each call; before, it has to be one.

    Raises:
        TypeError: `fn` is not an async function, so that calling it would do the work
            before any guard is asked.
    """
    check_async(fn)
    if sys.version_info >= (3, 12):

        @wraps(fn)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
            return call(fn, *args, **kwargs)

        return inspect.markcoroutinefunction(guarded)

    @wraps(fn)
    async def guarded_coroutine(*args: P.args, **kwargs: P.kwargs) -> T:
        result: T = await call(fn, *args, **kwargs)
        return result

    return guarded_coroutine


def check_async(fn: Callable[..., Any]) -> None:
    """Refuse a function that is not async.

    Raises:
        TypeError: it is not.
    """
    if not inspect.iscoroutinefunction(fn):
        raise TypeError(
            f"a guard goes around an async function, and {fn!r} is not one: "
            f"write 'async def', or use guard.call(...)"
        )
