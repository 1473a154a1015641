"""A limit on live tasks, and the line of those who wait for a place.

A place is handed over, not thrown to the crowd: when one falls free it is
reserved for the first in line before anybody else can see it, so a `go` that
comes by just then cannot take it, and nobody waits for ever behind faster
callers. A reserved place whose taker was cancelled goes to the next in line.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["NO_LIMIT", "Places"]


class Places:
    """Counts reserved places and keeps the line.

    Invariant: `taken + reserved <= limit`, and the line is empty while a place is free.
    """

    __slots__ = ("_line", "_reserved", "limit")

    def __init__(self, limit: int | None) -> None:
        """Allow `limit` tasks at once; None for no limit."""
        self.limit = limit
        self._reserved = 0
        self._line: deque[asyncio.Future[bool]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait in line."""
        return len(self._line)

    def free(self, taken: int) -> bool:
        """Whether there is a place, with `taken` tasks alive."""
        return self.limit is None or taken + self._reserved < self.limit

    @contextmanager
    def held(self) -> Generator[None]:
        """Take one place off the market while a task is being started."""
        if self.limit is None:  # shared by all scopes without one
            yield
            return
        self._reserved += 1
        try:
            yield
        finally:
            self._reserved -= 1

    async def wait(self, taken: int, loop: asyncio.AbstractEventLoop) -> None:
        """Return when the caller may take a place, or when the scope closes.

        The caller must take the place without another await.

        Cancelled: the place, if one was already reserved, goes to the next in line.
        """
        if self.free(taken) and not self._line:
            return
        turn: asyncio.Future[bool] = loop.create_future()
        self._line.append(turn)
        try:
            granted = await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result():
                self._reserved -= 1
                self._hand_over()
            elif turn in self._line:
                self._line.remove(turn)
            raise
        if granted:
            self._reserved -= 1

    def offer(self, taken: int) -> None:
        """Hand free places to those in line; called whenever `taken` fell."""
        while self._line and self.free(taken):
            self._hand_over()

    def _hand_over(self) -> None:
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                self._reserved += 1
                turn.set_result(True)
                return

    def dismiss(self) -> None:
        """Send everybody in line away: there will be no more places."""
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(False)


NO_LIMIT = Places(None)
"""Shared by all scopes without a limit: nobody ever waits here, so it never changes."""
