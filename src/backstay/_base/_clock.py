"""The only reader of time.

Every other module asks `now()`, so a test that swaps the clock here has swapped
it everywhere, and no rule can quietly depend on the wall clock, which jumps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Protocol

__all__ = ["Clock", "SystemClock", "follow_clock", "now", "use_clock", "wall"]


class Clock(Protocol):
    """Where time comes from."""

    def monotonic(self) -> float:
        """Seconds that never go backwards; the zero point has no meaning."""
        ...

    def wall(self) -> float:
        """Seconds since 1970-01-01 UTC; may jump when somebody sets the clock."""
        ...


class SystemClock:
    """The operating system's clocks."""

    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)


_clock: Clock = SystemClock()


def now() -> float:
    """Return monotonic seconds: for durations, ages and deadlines.

    The scale is the one of `loop.time()` on the stock loop and on uvloop, so a
    deadline computed here can be handed to a timer there.
    """
    return _clock.monotonic()


def wall() -> float:
    """Return unix seconds: for people and log records, never for durations."""
    return _clock.wall()


@contextmanager
def use_clock(clock: Clock) -> Generator[None]:
    """Read time from `clock` inside the block, everywhere in the process.

    Args:
        clock: the source to use, for example a virtual clock in a test.
    """
    before = _clock
    _switch(clock)
    try:
        yield
    finally:
        _switch(before)


_followers: list[Callable[[Callable[[], float]], None]] = []


def follow_clock(take: Callable[[Callable[[], float]], None]) -> None:
    """Hand `take` the function behind `now()`, at once and whenever the clock is swapped.

    For the few paths on which the two calls inside `now()` would be most of the
    work: a lock that nobody else wants. A follower stays for ever, so it is a
    function of a module, never of an object.
    """
    _followers.append(take)
    take(_clock.monotonic)


def _switch(clock: Clock) -> None:
    global _clock
    _clock = clock
    for take in _followers:
        take(clock.monotonic)
