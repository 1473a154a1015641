"""What a consumer and a schedule have in common: pause, stop, one life, and the block that runs it in the background."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, ClassVar, Final

from backstay._base import Roster
from backstay.errors import LifecycleMisuse
from backstay.tasks import Scope

__all__ = ["ALIVE", "Steered"]

#: The consumers and schedules of this process; each enters when it is whole.
ALIVE: Final[Roster[Steered]] = Roster()


class Steered(ABC):
    """Runs once, from `run` until it is told to leave, in a task of the caller's or in the background of a block."""

    _kind: ClassVar[str]  # for people: "consumer", "schedule"

    def __init__(self, name: str) -> None:
        self.name = name
        self._paused = ""
        self._why = ""  # it was told to leave
        self._told = asyncio.Event()
        self._changed = asyncio.Event()  # somebody should look: room, pause, the end
        self._block: AbstractAsyncContextManager[None] | None = None

    @property
    def paused(self) -> str:
        """Why nothing new is begun; "" while it is."""
        return self._paused

    def pause(self, reason: str = "pause() was called") -> None:
        """Begin nothing more until `resume()`; what is under way is finished, a pull for messages included.

        Instants of a schedule that come meanwhile are overlapped, or wait.
        """
        self._paused = reason or "pause() was called"
        self._changed.set()

    def resume(self) -> None:
        """Go on; harmless when it is not paused."""
        self._paused = ""
        self._changed.set()

    def stop(self, reason: str = "stop() was called") -> None:
        """Tell it to leave: begin nothing more, finish what is under way; `run` returns then."""
        if not self._told.is_set():
            self._why = reason
            self._told.set()
            self._changed.set()

    @abstractmethod
    async def run(self, leave: asyncio.Event | None = None) -> Any:
        """Live until told to leave."""

    async def __aexit__(self, *error: Any) -> bool | None:
        """Drain it, unless the block ends by a cancel or an error: then it is cut."""
        assert self._block is not None
        return await self._block.__aexit__(*error)

    async def _begin_block(self) -> None:
        self._block = self._in_background()
        await self._block.__aenter__()

    @asynccontextmanager
    async def _in_background(self) -> AsyncGenerator[None]:
        async with Scope(f"{self._kind} {self.name}", unwrap=True) as scope:
            scope.go(self.run)
            try:
                yield
            finally:
                self.stop("its block was left")

    def _only_once(self, state: str) -> None:
        if state != "new":
            raise LifecycleMisuse(f"{self._kind} {self.name!r} is used once: it is {state}")

    async def _heed(self, leave: asyncio.Event) -> None:
        await leave.wait()
        self.stop("told to leave")
