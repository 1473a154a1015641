"""`block`: the third placement, for calls that wait without giving the loop back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, ParamSpec, TypeVar, cast

from backstay.context import remaining
from backstay.errors import ExpiredError

__all__ = ["block"]

P = ParamSpec("P")
T = TypeVar("T")


async def block(fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call the plain function `fn(*args)` in a thread, and wait for its result.

    For what would block the loop: file access, a driver without asyncio, a C
    library. The thread comes from the loop's default executor. The function sees
    the caller's context: deadline, values, trace.

    Raises:
        ExpiredError: the deadline has passed already; the function was not called.
        TypeError: `fn` is an async function, which belongs on a loop.

    Cancelled: a thread cannot be stopped. A call that has not begun never does; one
    that has is waited for, and the cancel goes on afterwards: an end that leaves the
    function at work would be no end. Give such functions a time-out of their own,
    for example `backstay.remaining()`.

    Cost: about 50 microseconds, and a thread for as long as it lasts.
    """
    if iscoroutinefunction(fn):
        raise TypeError(
            f"block() runs plain functions in a thread; {fn.__qualname__!r} is an async function: "
            f"start it with scope.go() or pool.go()"
        )
    left = remaining()
    if left is not None and left <= 0:
        name = getattr(fn, "__qualname__", repr(fn))
        raise ExpiredError(f"the deadline had passed before {name} was called", policy="block")
    call = _Call(partial(copy_context().run, partial(fn, *args, **kwargs)))
    future = asyncio.get_running_loop().run_in_executor(None, call)
    struck: asyncio.CancelledError | None = None
    try:
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError as error:
                struck = struck or error
                if call.give_up():
                    future.cancel()
                    raise
        if struck is None or future.exception() is not None:
            return cast("T", future.result())
        raise struck
    finally:
        del struck


class _Call:
    """What the thread runs; the caller may give it up until it begins."""

    __slots__ = ("_begun", "_given_up", "_guard", "_run")

    def __init__(self, run: Callable[[], Any]) -> None:
        self._run = run
        self._guard = threading.Lock()
        self._begun = False
        self._given_up = False

    def __call__(self) -> Any:
        with self._guard:
            if self._given_up:
                return None
            self._begun = True
        return self._run()

    def give_up(self) -> bool:
        """Have it never begin; False when it has begun."""
        with self._guard:
            self._given_up = not self._begun
            return self._given_up
