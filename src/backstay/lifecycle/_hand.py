"""What a consumer has in hand: how much more it may take, and whose turn it is.

Why pure: who may start when is where orders go wrong, so it is decided here without a task or a
clock, and a property test compares it with a list.

The rule of a key: messages of one key are handled one at a time, in the order in which they came.
A message without a key is a key of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["Hand"]

T = TypeVar("T", bound=Hashable)


class Hand(Generic[T]):
    """Places for messages: so many at work, so many in all, and a line for each key.

    Invariant: of each key at most one message is at work or waits for a place, and it is the
    one of those in hand that came first.
    """

    __slots__ = ("_ahead", "_keys", "_lines", "_ready", "at_work", "most", "places")

    def __init__(self, places: int, most: int) -> None:
        """Be empty.

        Args:
            places: how many may be at work at once, >= 1.
            most: how many may be in hand, >= places.
        """
        self.places = places
        self.most = most
        self.at_work = 0
        self._keys: dict[T, str | None] = {}  # all in hand, in the order in which they came
        self._ready: deque[T] = deque()  # whose turn it is, and who waits for a place
        self._lines: dict[
            str, deque[T]
        ] = {}  # behind the one whose turn it is; exists while one has it
        self._ahead: set[T] = set()  # at work

    def __len__(self) -> int:
        """Return how many are in hand."""
        return len(self._keys)

    def __contains__(self, one: object) -> bool:
        """Tell whether this one is in hand."""
        return one in self._keys

    @property
    def room(self) -> int:
        """How many more may be taken."""
        return max(0, self.most - len(self._keys))

    @property
    def waiting(self) -> list[T]:
        """Those in hand that are not at work, in the order in which they came."""
        return [one for one in self._keys if one not in self._ahead]

    def take(self, one: T, key: str | None) -> None:
        """Put a message at the end of its line; it is not in hand yet."""
        self._keys[one] = key
        if key is None:
            self._ready.append(one)
        elif key in self._lines:
            self._lines[key].append(one)
        else:
            self._lines[key] = deque()
            self._ready.append(one)

    def begin(self) -> T | None:
        """Give a place to the next one whose turn it is, or None when there is none or no place."""
        if self.at_work >= self.places or not self._ready:
            return None
        one = self._ready.popleft()
        self._ahead.add(one)
        self.at_work += 1
        return one

    def leave(self, one: T) -> None:
        """Let a message go, whatever has become of it; the next of its key has its turn."""
        key = self._keys.pop(one)
        if one in self._ahead:
            self._ahead.discard(one)
            self.at_work -= 1
        elif one in self._ready:
            self._ready.remove(one)
        else:  # from within its line: nobody's turn comes by that
            assert key is not None
            self._lines[key].remove(one)
            return
        if key is None:
            return
        line = self._lines[key]
        if line:
            self._ready.append(line.popleft())
        else:
            del self._lines[key]

    def behind(self, one: T) -> list[T]:
        """Return those that wait for this one to leave, in their order."""
        key = self._keys[one]
        if key is None or (one not in self._ahead and one not in self._ready):
            return []
        return list(self._lines[key])
