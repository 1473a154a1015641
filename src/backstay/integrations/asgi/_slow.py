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

    To add a request, put it into `fresh` and call `arm` unless it is `ticking`.

    Invariant: every request added, not yet attended and not discarded is in `fresh`
    or in `_old`, and while either has any, the timer is set.

    Attributes:
        fresh: requests that no tick has seen yet.
        ticking: whether the timer is set.
    """

    __slots__ = ("_delay", "_loop", "_old", "fresh", "ticking")

    def __init__(self, loop: asyncio.AbstractEventLoop, delay: float) -> None:
        """Attend to nobody yet."""
        self._loop = loop
        self._delay = delay
        # Two generations: who is old at a tick has lived for one delay at least.
        self.fresh: dict[Lasting, None] = {}
        self._old: dict[Lasting, None] = {}
        self.ticking = False

    def discard(self, request: Lasting) -> None:
        """Forget a request that has ended and is no longer fresh."""
        self._old.pop(request, None)

    def arm(self) -> None:
        """Set the timer."""
        self.ticking = True
        # In an empty context, or what is started here would carry one request's values.
        self._loop.call_later(self._delay, self._tick, context=Context())

    def _tick(self) -> None:
        again = {request: None for request in list(self._old) if not request.attend()}
        self._old = again | self.fresh
        self.fresh = {}
        if self._old:
            self.arm()
        else:
            self.ticking = False
