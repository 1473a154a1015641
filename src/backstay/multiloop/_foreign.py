"""Finds arguments that belong to a loop and so cannot follow a job to another one.

A lock, a future or a connection used on a foreign loop fails late and oddly: a
waiter that is never woken, "attached to a different loop" from the depth of a
library. So a call that may run anywhere is refused where it is made, while the
line that made the mistake is on the stack.

An object that may be used from every loop says so by `__crosses_loops__ = True`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, cast

from backstay.errors import ScopeMisuse

__all__ = ["refuse_foreign"]

_PLAIN = (str, bytes, int, float, bool, type(None), type)
_MOST = 64  # objects looked at: a slip is near the surface, and a call must stay cheap
_DEPTH = 2  # containers and attributes looked into


def refuse_foreign(
    where: str, name: str, fn: object, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> None:
    """Refuse a call whose function or arguments hold something that is bound to a loop.

    Args:
        where: the name of the multiloop, for the message.
        name: the name of the function, for the message.
        fn: the function; a bound method's object and what a partial holds are looked at.
        args: its arguments.
        kwargs: its keyword arguments.

    Raises:
        ScopeMisuse: something is bound to a loop.
    """
    todo: list[tuple[str, object, int]] = []
    while isinstance(fn, partial):
        todo += _parts("an argument of the partial", cast("Any", fn).args, 0)
        todo += _parts("an argument of the partial", cast("Any", fn).keywords.values(), 0)
        fn = cast("Any", fn).func
    if (owner := getattr(fn, "__self__", None)) is not None:
        todo.append(("its object (self)", owner, 0))
    todo += [(f"argument {at + 1}", value, 0) for at, value in enumerate(args)]
    todo += [(f"argument {key!r}", value, 0) for key, value in kwargs.items()]
    looked = 0
    while todo and looked < _MOST:
        looked += 1
        place, value, depth = todo.pop(0)
        if isinstance(value, _PLAIN) or getattr(value, "__crosses_loops__", False) is True:
            continue
        if _is_bound(value):
            kind = f"{type(value).__module__}.{type(value).__qualname__}"
            raise ScopeMisuse(
                f"multiloop {where!r} cannot run {name}: {place} is a {kind} that belongs to an "
                f"event loop, and the call may run on another one. Make it inside the function, "
                f"hand over plain data, or start the call on this loop with scope.go()"
            )
        if depth < _DEPTH:
            todo += _inside(place, value, depth + 1)


def _parts(place: str, values: Iterable[object], depth: int) -> list[tuple[str, object, int]]:
    return [(place, value, depth) for value in values]


def _inside(place: str, value: object, depth: int) -> list[tuple[str, object, int]]:
    if isinstance(value, list | tuple | set | frozenset):
        some = list(cast("Iterable[object]", value))[:_MOST]
        return _parts(f"{place} holds something that", some, depth)
    if isinstance(value, dict):
        some = list(cast("dict[object, object]", value).values())[:_MOST]
        return _parts(f"{place} holds something that", some, depth)
    attributes = getattr(value, "__dict__", None)
    if type(attributes) is not dict or isinstance(value, Callable):  # type: ignore[arg-type]
        return []
    named = cast("dict[str, object]", attributes)
    return [
        (f"{place} has an attribute {key!r} that", one, depth)
        for key, one in list(named.items())[:_MOST]
    ]


def _is_bound(value: object) -> bool:
    if isinstance(value, asyncio.Future | asyncio.AbstractEventLoop):
        return True
    # Transports, streams, queues, locks and sessions keep their loop under this name, also
    # those of libraries; asyncio's own primitives only once they were waited for.
    try:
        return isinstance(getattr(value, "_loop", None), asyncio.AbstractEventLoop)
    except Exception:  # somebody's __getattr__: nothing of ours to report
        return False
