"""What a loop is called in figures: a number that it keeps, for a loop says nothing of itself."""

from __future__ import annotations

import asyncio
import threading
from weakref import WeakKeyDictionary

from backstay.multiloop import running_multiloops

__all__ = ["loop_kind", "loop_name"]

Loop = asyncio.AbstractEventLoop

_numbers: WeakKeyDictionary[Loop, int] = WeakKeyDictionary()
_next = 0
_guard = threading.Lock()


def loop_name(loop: Loop) -> str:
    """Return "NAME-2" for the third loop of a multiloop, and for others a number from 0 on.

    Numbers are given when they are asked for, and not given again: what was counted for a loop that
    is gone is not continued by another.
    """
    global _next
    for pool in running_multiloops():
        for place, one in enumerate(pool.loops):
            if one is loop:
                return f"{pool.name}-{place}"
    with _guard:
        number = _numbers.get(loop)
        if number is None:
            number = _numbers[loop] = _next
            _next += 1
    return str(number)


def loop_kind(loop: Loop) -> str:
    """Return "asyncio", "uvloop", or the package of another loop."""
    package = type(loop).__module__.partition(".")[0]
    return (
        package if package == "uvloop" or not isinstance(loop, asyncio.BaseEventLoop) else "asyncio"
    )
