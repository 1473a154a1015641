"""Requests that take longer than a moment, and what is arranged only for them.

Most requests are over within milliseconds. A timer and a watcher for each of them
would be the larger part of what a guard costs, so a request is only noted in a dict
and taken out again; whoever is still there after a while gets its deadline watched
and its client looked after. (A list without taking out is no cheaper: it keeps the
dead alive until the next tick, and the garbage collector pays.)
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import Protocol

__all__ = ["Lasting", "SlowRequests"]


class Lasting(Protocol):
    """A request, as seen from here."""

    def attend(self) -> bool:
        """Arrange what a slow request needs; return False to be asked again later."""
        ...


class SlowRequests:
    """Attends to the requests of one loop that live for `delay` to twice `delay` seconds.

    Invariant: every request added, not yet attended and not discarded is in `_fresh`
    or in `_old`, and while either has any, the timer is set.
    """

    __slots__ = ("_delay", "_fresh", "_loop", "_old", "_ticking")

    def __init__(self, loop: asyncio.AbstractEventLoop, delay: float) -> None:
        """Attend to nobody yet."""
        self._loop = loop
        self._delay = delay
        # Two generations: who is old at a tick has lived for one delay at least.
        self._fresh: dict[Lasting, None] = {}
        self._old: dict[Lasting, None] = {}
        self._ticking = False

    def add(self, request: Lasting) -> None:
        """Attend to a request if it lasts."""
        self._fresh[request] = None
        if not self._ticking:
            self._arm()

    def discard(self, request: Lasting) -> None:
        """Forget a request that has ended."""
        if self._fresh.pop(request, self) is self:  # it was not there
            self._old.pop(request, None)

    def _arm(self) -> None:
        self._ticking = True
        # In an empty context, or what is started here would carry one request's values.
        self._loop.call_later(self._delay, self._tick, context=Context())

    def _tick(self) -> None:
        again = {request: None for request in list(self._old) if not request.attend()}
        self._old = again | self._fresh
        self._fresh = {}
        if self._old:
            self._arm()
        else:
            self._ticking = False
