"""Many deadlines on few timers.

A server sets a deadline for each request and nearly all of them are never hit.
A timer of the loop for each costs a push into a heap (or a libuv handle) and
leaves a cancelled entry behind; here a deadline is one entry in a set, and the
loop holds one timer for each slot of time that has any. The idea is the hashed
timing wheel (Varghese and Lauck, 1987), with a dict in the place of the ring,
since deadlines far away are rare.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import Protocol

__all__ = ["DeadlineWheel"]

_SLOT_S = 0.010  # a deadline strikes at most this late, and never early


class Strikable(Protocol):
    """What can be on the wheel."""

    def strike_deadline(self) -> None:
        """Its time has come."""


class WheelTimer:
    """One place on the wheel."""

    __slots__ = ("_places", "_who")

    def __init__(self, places: set[Strikable], who: Strikable) -> None:
        """Made by `DeadlineWheel.add`."""
        self._places = places
        self._who = who

    def cancel(self) -> None:
        """Leave the wheel; harmless after the strike."""
        self._places.discard(self._who)


class DeadlineWheel:
    """The deadlines of the scopes of one loop.

    Invariant: whoever is in `_slots[k]` has a deadline at or before `k * _SLOT_S`,
    and the loop holds exactly one timer for each key of `_slots`.
    """

    __slots__ = ("_loop", "_slots")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start empty, for the scopes of `loop`."""
        self._loop = loop
        self._slots: dict[int, set[Strikable]] = {}

    def add(self, who: Strikable, at: float) -> WheelTimer:
        """Strike `who` at `at`, seconds on the loop's clock."""
        slot = int(at / _SLOT_S) + 1
        places = self._slots.get(slot)
        if places is None:
            places = self._slots[slot] = set()
            # An empty context, or the timer would hold the values of whoever came first.
            self._loop.call_at(slot * _SLOT_S, self._strike, slot, context=Context())
        places.add(who)
        return WheelTimer(places, who)

    def _strike(self, slot: int) -> None:
        places = self._slots.pop(slot)
        while places:  # not `for`: a strike may take others off
            places.pop().strike_deadline()
