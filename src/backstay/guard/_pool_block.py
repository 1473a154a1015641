"""`Taken`: a resource of a pool for the length of a block."""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop
from collections.abc import Awaitable
from sys import _getframe
from types import TracebackType
from typing import Generic, Protocol, TypeVar

from backstay.guard._pool_records import Item
from backstay.sync._home import READY, read_clock, task_in

__all__ = ["Lender", "Taken"]

T = TypeVar("T")

# What ends a block in the middle of whatever it does: half of an answer may still be on its way.
_CUTS = (asyncio.CancelledError, TimeoutError, GeneratorExit)


class Lender(Protocol[T]):
    """What a block needs of a pool."""

    _idle: list[Item[T]]
    _held: dict[int, Item[T]]
    _loop: AbstractEventLoop | None

    async def _find(self, now: float) -> Item[T]: ...

    def release(self, value: T, *, bad: bool = False) -> None:
        """Give it back."""

    def release_doubtful(self, value: T, *, bad: bool) -> None:
        """Give it back after an error."""


class Taken(Generic[T]):
    """A resource for the length of a block; made by `Pool.take`.

    While one is at hand neither entering nor leaving makes a coroutine.
    """

    __slots__ = ("_pool", "_value")

    _value: T

    def __init__(self, pool: Lender[T]) -> None:
        """Nothing is taken yet."""
        self._pool = pool

    def __aenter__(self) -> Awaitable[T]:
        """Take one, waiting for it."""
        pool = self._pool
        idle, now = pool._idle, read_clock.read()
        if not idle or now >= idle[-1].fresh_until:
            return self._wait(now)
        item = idle.pop()
        value = self._value = item.value
        pool._held[id(value)] = item
        item.lend(now, task_in(pool._loop), _getframe(1))
        return item.ready

    async def _wait(self, now: float) -> T:
        pool = self._pool
        item = await pool._find(now)
        value = self._value = item.value
        pool._held[id(value)] = item
        item.lend(read_clock.read(), task_in(pool._loop), _getframe(1))
        return value

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Awaitable[None]:
        """Give it back; see `Pool.take` for what becomes of one whose block was cut."""
        if error is None:
            self._pool.release(self._value)
        else:
            self._pool.release_doubtful(self._value, bad=isinstance(error, _CUTS))
        return READY
