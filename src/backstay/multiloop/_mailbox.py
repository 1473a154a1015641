"""Calls into a loop from other threads, several for the price of one.

`call_soon_threadsafe` writes to the loop's wake-up pipe: two system calls and,
when the loop sleeps, a wake-up of 10 microseconds and more. In a burst of calls
only the first one pays; the others find it on its way.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextvars import Context
from typing import Any

__all__ = ["Mailbox"]


class Mailbox:
    """The one way into one loop from any thread.

    Invariant: while `_letters` is not empty, a call of `_open` is on its way.
    """

    __slots__ = ("_context", "_guard", "_letters", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, context: Context | None = None) -> None:
        """Serve `loop`; what is posted runs in `context`, an empty one when omitted."""
        self.loop = loop
        self._context = Context() if context is None else context
        self._guard = threading.Lock()
        self._letters: list[tuple[Callable[..., object], tuple[Any, ...]]] = []

    def post(self, call: Callable[..., object], *args: Any) -> bool:
        """Have the loop call `call(*args)` soon, in order of posting; callable from any thread.

        Returns:
            False when the loop is closed, and nobody will call.
        """
        with self._guard:
            self._letters.append((call, args))
            if len(self._letters) > 1:
                return True
        try:
            self.loop.call_soon_threadsafe(self._open, context=self._context)
        except RuntimeError:  # closed
            with self._guard:
                self._letters.clear()
            return False
        return True

    def _open(self) -> None:
        with self._guard:
            letters, self._letters = self._letters, []
        for call, args in letters:
            try:
                call(*args)
            except Exception as error:  # one bad letter must not lose those behind it
                self.loop.call_exception_handler(
                    {"message": f"a call from another thread failed: {call!r}", "exception": error}
                )
