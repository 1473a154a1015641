"""Who is alive of a kind of object: a list that keeps nobody on it."""

from __future__ import annotations

from typing import Any, Generic, TypeVar
from weakref import ref

__all__ = ["Roster"]

T = TypeVar("T")

#: Tries to read a list that others write to; each fails only when somebody comes or goes within microseconds.
_TRIES = 10


class Roster(Generic[T]):
    """Living objects, for tables and metrics. Whoever is put on it leaves it by dying.

    Objects are told apart by being themselves, so their class must not define equality.

    Cost: 0.1 to 0.2 microseconds for an object's whole life, half of what a `WeakSet` takes: both ends are one
    call into C, which also makes them safe from any thread. Some 190 bytes an object.

    Attributes:
        enter: puts a reference with the callback `leave` on it: `add` for constructors that are called often.
        leave: takes a reference off it.
    """

    __slots__ = ("_refs", "enter", "leave")

    def __init__(self) -> None:
        """Start empty."""
        self._refs: set[ref[Any]] = set()
        self.enter = self._refs.add
        self.leave = self._refs.discard

    def add(self, one: T) -> None:
        """Put an object on it; for its constructor, once."""
        # A reference hashes as its object does, and remembers that when the object is gone.
        self.enter(ref(one, self.leave))

    def living(self) -> list[T]:
        """Return those that are alive now, in no order; callable from any thread."""
        for _ in range(_TRIES):
            try:
                known = list(self._refs)
            except RuntimeError:  # it changed while it was read
                continue
            return [one for one in (weak() for weak in known) if one is not None]
        return []
