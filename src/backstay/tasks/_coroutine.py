"""From "a function and its arguments" to a coroutine, with errors that teach."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from inspect import isawaitable, iscoroutine
from types import CoroutineType
from typing import Any, ParamSpec, TypeVar, cast

__all__ = ["as_coroutine"]

P = ParamSpec("P")
T = TypeVar("T")


def as_coroutine(
    fn: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
) -> Coroutine[Any, Any, T]:
    """Call `fn(*args)` and return what it made as a coroutine that has not started.

    Raises:
        TypeError: a coroutine was given in place of a function, or the function
            returned something that cannot be awaited.
    """
    try:
        made = fn(*args, **kwargs)
    except TypeError:
        if iscoroutine(fn):  # looked at only now: the check is for those who slipped
            fn.close()  # or Python would warn later that it was never awaited
            raise TypeError(
                f"go() takes the function and its arguments, not a call: "
                f"write go({fn.__name__}, ...) instead of go({fn.__name__}(...))"
            ) from None
        raise
    if type(made) is CoroutineType or iscoroutine(made):
        return cast("Coroutine[Any, Any, T]", made)
    if isawaitable(made):
        return _await(made)
    raise TypeError(
        f"go() needs a function that returns an awaitable; {getattr(fn, '__qualname__', fn)!r} "
        f"returned {type(made).__name__}: make it 'async def', or use asyncio.to_thread for blocking work"
    )


async def _await(awaitable: Awaitable[T]) -> T:
    return await awaitable
