"""Which event loop a channel lives in, and what it is called.

A channel may be made anywhere, also at import time, before there is a loop. It
moves in with the first task that uses it. Used from a second loop it refuses,
since a waiter can only be woken from its own loop's thread, and a wake-up from
elsewhere is lost now and then instead of always. A loop that is closed, or that
runs no more and has nobody waiting, is left for the next one, so a channel at
module level survives one `asyncio.run` after another.
"""

from __future__ import annotations

import asyncio
import threading
from asyncio import AbstractEventLoop, get_running_loop
from pathlib import PurePath
from types import FrameType
from typing import Final, TypeVar

from backstay.channels._channel_state import ChannelState
from backstay.channels._tickets import TICKET_OFFICE
from backstay.errors import ChannelClosed, ChannelMisuse
from backstay.sync._wake_queue import here, wake_queue

__all__ = ["HomedState"]

T = TypeVar("T")

# On Python 3.11 the quick question tells threads apart, not loops of one thread.
ASK_WHEN_PARKING: Final = here is not get_running_loop


class HomedState(ChannelState[T]):
    """A channel's state, its name and its loop.

    Invariant: whoever stands in line waits in `_loop`, unless the channel is shared.
    """

    __slots__ = ("__weakref__", "_home", "_lock", "_loop", "_made_at", "_name")

    def __init__(self, capacity: int, name: str | None, shared: bool, frame: FrameType) -> None:
        """Take a name, or be named after the line of `frame`."""
        super().__init__(capacity)
        self._name = name
        self._made_at = None if name else (frame.f_code.co_filename, frame.f_lineno)
        self._loop: AbstractEventLoop | None = None
        # What `here()` says where the quick way is open: nowhere yet, and never when shared.
        self._home: object = None
        self._lock = threading.Lock() if shared else None
        if shared:
            self._wakes = TICKET_OFFICE

    @property
    def shared(self) -> bool:
        """Whether it may be used from several event loops."""
        return self._lock is not None

    @property
    def name(self) -> str:
        """As given, or the line that made it: ``jobs.py:12``."""
        if self._made_at is not None:
            file, line = self._made_at
            self._name, self._made_at = f"{PurePath(file).name}:{line}", None
        return self._name or ""

    def _settle(self) -> None:
        """Move in with the running loop, or refuse.

        Raises:
            ChannelMisuse: it is in use in another loop.
            RuntimeError: no loop is running.
        """
        self._move_to(get_running_loop())

    def _settle_nowait(self) -> None:
        """Do the same for calls that need no loop, because they never wait."""
        running = asyncio._get_running_loop()
        if running is not None:
            self._move_to(running)
        elif self._loop is not None and self._loop.is_running():
            raise self._foreign("from a thread without a loop")

    def _move_to(self, running: AbstractEventLoop) -> None:
        before = self._loop
        if before is not None and before is not running:
            if before.is_closed():  # who waited there never comes back
                self._receivers.clear()
                self._senders.clear()
            elif before.is_running() or self._receivers.waiting or self._senders.waiting:
                raise self._foreign("from another event loop")
        if before is not running:
            self._room = self._credit = self._granted = 0
            self._loop = running
            self._wakes = wake_queue(running)
        self._home = here()

    def _foreign(self, where: str) -> ChannelMisuse:
        return ChannelMisuse(
            f"channel {self.name!r} lives in one event loop and was used {where}: "
            f"make it with Channel(..., shared=True), or give each loop its own"
        )

    def _closed_error(self, what: str) -> ChannelClosed:
        return ChannelClosed(f"{what} the closed channel {self.name!r}")
