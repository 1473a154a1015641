"""Force a few tasks into one order: the opposite of exploring, for the test of one known course."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from backstay.errors import UsageError

__all__ = ["Sequencer"]


class Sequencer:
    """Lets the numbered places of several tasks be passed in the order of their numbers.

    ::

        async def child(seq):
            async with seq(1):
                log.append("second")

        async def parent(seq):
            async with seq(0):
                log.append("first")
            async with seq(2):
                log.append("third")

    Number n is entered when the block of number n-1 was left, also by an error.
    Each number is used once. When a task is cancelled while it waits for its turn,
    the sequence can never be complete: all others that wait, or come later, get an
    error instead of waiting for ever.

    Prior art: trio's `Sequencer`.
    """

    def __init__(self) -> None:
        """Start before number 0."""
        self._passed: dict[int, asyncio.Event] = {}
        self._claimed: set[int] = set()
        self._broken_at: int | None = None

    @asynccontextmanager
    async def __call__(self, number: int) -> AsyncGenerator[None]:
        """Wait until it is the turn of `number`, >= 0.

        Raises:
            UsageError: the number is used twice or negative, or the sequence is broken.

        Cancelled: the sequence is broken from then on.
        """
        if number < 0 or number in self._claimed:
            raise UsageError(
                f"place {number} of a sequence is taken: each number from 0 is used once"
            )
        self._claimed.add(number)
        if number:
            await self._wait_for(number)
        try:
            yield
        finally:
            self._event(number + 1).set()

    async def _wait_for(self, number: int) -> None:
        try:
            if self._broken_at is None:
                await self._event(number).wait()
        except asyncio.CancelledError:
            self._broken_at = number
            for event in self._passed.values():
                event.set()
            raise
        if self._broken_at is not None:
            raise UsageError(
                f"place {number} will never be reached: the task at place {self._broken_at} was cancelled "
                "while it waited for its turn"
            )

    def _event(self, number: int) -> asyncio.Event:
        return self._passed.setdefault(number, asyncio.Event())

    def __repr__(self) -> str:
        """Show the places that were claimed."""
        broken = "" if self._broken_at is None else f" broken at {self._broken_at}"
        return f"<Sequencer {sorted(self._claimed)}{broken}>"
