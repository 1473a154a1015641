"""`Taken`: a resource of a pool for the length of a block."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Generator
from types import FrameType, TracebackType
from typing import Generic, Protocol, TypeVar

from backstay.guard._pool_records import Item
from backstay.sync._home import READY, read_clock

__all__ = ["Lender", "Taken"]

T = TypeVar("T")

# What ends a block in the middle of whatever it does: half of an answer may still be on its way.
_CUTS = (asyncio.CancelledError, TimeoutError, GeneratorExit)


class Lender(Protocol[T]):
    """What a block needs of a pool."""

    def _at_hand(self) -> Item[T] | None: ...

    async def _find(self, now: float) -> Item[T]: ...

    def _lend(self, item: Item[T], frame: FrameType) -> T: ...

    def release(self, value: T, *, bad: bool = False) -> None:
        """Give it back."""


class Taken(Generic[T]):
    """A resource for the length of a block; made by `Pool.take`.

    While one is at hand neither entering nor leaving makes a coroutine: this is what is
    awaited, too.
    """

    __slots__ = ("_pool", "_value")

    _value: T

    def __init__(self, pool: Lender[T]) -> None:
        """Nothing is taken yet."""
        self._pool = pool

    def __aenter__(self) -> Awaitable[T]:
        """Take one, waiting for it."""
        pool = self._pool
        item = pool._at_hand()
        if item is None:
            return self._wait()
        self._value = pool._lend(item, sys._getframe(1))
        return self

    async def _wait(self) -> T:
        pool = self._pool
        item = await pool._find(read_clock.read())
        self._value = pool._lend(item, sys._getframe(1))
        return self._value

    def __await__(self) -> Generator[None, None, T]:
        """Return what was taken, at once."""
        return self._value
        yield

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Awaitable[None]:
        """Give it back; see `Pool.take` for what becomes of one whose block was cut."""
        bad = error is not None and isinstance(error, _CUTS)
        self._pool.release(self._value, bad=bad)
        return READY
