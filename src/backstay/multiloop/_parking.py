"""The loops that found nothing to do, and how one of them is woken.

The danger is the lost wake-up: a loop looks, finds nothing, and goes to rest
just after somebody has pushed a job and found nobody to wake. The rule that
prevents it: who rests is entered here *first* and then looks once more; who
pushes pushes first and then looks here. Whichever comes second sees the other.
"""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

__all__ = ["Resting"]

P = TypeVar("P")


class Resting(Generic[P]):
    """The set of resting loops. Safe to use from any thread."""

    __slots__ = ("_guard", "_who")

    def __init__(self) -> None:
        """Nobody rests yet."""
        self._guard = threading.Lock()
        self._who: dict[P, None] = {}

    def __len__(self) -> int:
        """Count who rests."""
        return len(self._who)

    def add(self, who: P) -> None:
        """Enter `who`, before it looks for the last time."""
        with self._guard:
            self._who[who] = None

    def remove(self, who: P) -> bool:
        """Take `who` out; False when somebody has taken it out to wake it."""
        with self._guard:
            return self._who.pop(who, self) is None

    def wake_one(self) -> P | None:
        """Take out the one that went to rest last, whose caches are warm; None when all work.

        Why only one: if there is more work than it can do, it wakes the next, and
        a single job does not bring all loops to their feet.
        """
        with self._guard:
            return self._who.popitem()[0] if self._who else None
