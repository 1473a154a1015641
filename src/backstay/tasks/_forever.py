"""`forever()`: a wait that nobody is to end but a cancel, and that says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import CoroutineType
from typing import Any, NoReturn, cast

__all__ = ["forever", "waits_forever"]

_get_coro = cast("Callable[[Any], Any]", asyncio.Task.get_coro)  # past what a subclass overrides
_DEEP = 64  # calls; a deliberate wait is not hidden deeper


async def forever() -> NoReturn:
    """Wait until the task is cancelled.

    `await asyncio.Event().wait()` does the same, and cannot be told from a task that was
    forgotten; a proof calls it STUCK. This one is never accused of that. That its owner
    has ended, or its deadline has passed, still counts against it.

    Cancelled: that is how it ends.
    """
    await asyncio.get_running_loop().create_future()
    raise AssertionError("a future of our own was resolved by somebody else")


_CODE = forever.__code__


def waits_forever(task: asyncio.Task[Any]) -> bool:
    """Tell whether `task` is inside of `forever()`; nothing of it is kept or changed.

    Cost: about 0.2 microseconds a call that the task is in.
    """
    here: Any = _get_coro(task) if issubclass(type(task), asyncio.Task) else None
    for _ in range(_DEEP):
        if type(here) is not CoroutineType:
            return False
        if here.cr_code is _CODE:
            return True
        here = here.cr_await
    return False
