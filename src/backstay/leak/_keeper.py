"""One thing that keeps a process or its loop alive, as plain values."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, Final, Literal

from backstay.leak._places import relative
from backstay.tasks._await_chain import kind_of

__all__ = ["KEEPER_KINDS", "Keeper", "KeeperKind", "counted", "named_code"]

KeeperKind = Literal["thread", "job", "process", "server", "connection", "timer", "watch", "signal"]
KEEPER_KINDS: Final[tuple[KeeperKind, ...]] = (
    "thread",
    "job",
    "process",
    "server",
    "connection",
    "timer",
    "watch",
    "signal",
)

_MOST_LAYERS = 8  # of partials and wrappers around one function


@dataclass(frozen=True, slots=True)
class Keeper:
    """One thing, or several alike, that keep a process or its loop alive."""

    kind: KeeperKind
    name: str  # of the thread, function, program, address; never an argument or a value
    site: str  # "path:line" where it stands or is defined; "" when unknown
    detail: str  # in words: when it is due, who is at the other end
    count: int  # how many alike
    holds_exit: bool  # the interpreter does not exit before it ends

    def __str__(self) -> str:
        """Say it in one line."""
        times = f"{self.count:,} × " if self.count > 1 else ""
        where = f" at {self.site}" if self.site else ""
        detail = f" ({self.detail})" if self.detail else ""
        return f"{times}{self.name}{where}{detail}"


def counted(found: Iterable[Keeper]) -> list[Keeper]:
    """Join those that differ in nothing; of different details the first is told."""
    alike: dict[tuple[str, str, str], Keeper] = {}
    for one in found:
        key = one.kind, one.name, one.site
        first = alike.get(key)
        alike[key] = one if first is None else replace(first, count=first.count + one.count)
    return list(alike.values())


def named_code(callback: Any) -> tuple[str, str]:
    """Name a callback and the line that defines it, without running any code of its own."""
    for _ in range(_MOST_LAYERS):
        kind = kind_of(callback)
        if issubclass(kind, functools.partial):
            callback = callback.func
        elif kind is MethodType:
            callback = callback.__func__
        else:
            break
    kind = kind_of(callback)
    if kind is FunctionType:
        code = callback.__code__
        return callback.__qualname__, relative(f"{code.co_filename}:{code.co_firstlineno}")
    if kind is BuiltinFunctionType:
        return callback.__qualname__, ""
    return f"a {kind.__qualname__}", ""
