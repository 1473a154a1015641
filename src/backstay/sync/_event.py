"""`Event`: a flag that tasks wait for."""

from __future__ import annotations

from dataclasses import dataclass

from backstay.sync._home import Home
from backstay.sync._wake_queue import Waiter, WaitLine, was_given

__all__ = ["Event", "EventStatistics"]


@dataclass(frozen=True, slots=True)
class EventStatistics:
    """How an event is doing.

    Attributes:
        name: its name.
        is_set: whether the flag is up.
        waiting: how many tasks wait for it.
    """

    name: str
    is_set: bool
    waiting: int


class Event(Home):
    """A flag: `set` wakes everybody who waits, and whoever comes later does not wait.

    Who waited when it was set goes on, also when it is cleared before they run.

    Cancelled: a cancelled wait leaves nothing behind.
    """

    __slots__ = ("_is_set", "_line")

    _kind = "event"

    def __init__(self, name: str = "") -> None:
        """Make an event that is not set.

        Args:
            name: what it announces, for people; the line that makes it when omitted.
        """
        super().__init__(name)
        self._is_set = False
        self._line: WaitLine[Waiter] = WaitLine()

    async def wait(self) -> None:
        """Return when the event is set; at once when it is."""
        if self._is_set:
            return
        waiter = self._waiter()
        self._line.append(waiter)
        try:
            await waiter
        except BaseException:
            if not was_given(waiter):
                self._line.discard(waiter)
            raise

    def set(self) -> None:
        """Raise the flag and wake everybody who waits."""
        can_wake = self._line and self._can_wake("set()")  # first: it may refuse
        self._is_set = True
        if can_wake:
            self._queue.wake_all(self._line)

    def clear(self) -> None:
        """Take the flag down, so that the next to come wait again."""
        self._is_set = False

    def is_set(self) -> bool:
        """Whether the flag is up."""
        return self._is_set

    def statistics(self) -> EventStatistics:
        """Return how it is doing."""
        return EventStatistics(self.name, self._is_set, self._line.waiting)

    def __repr__(self) -> str:
        """Show the name, the flag, and how many wait."""
        state = "set" if self._is_set else f"waiting={self._line.waiting}"
        return f"<Event {self.name!r} {state}>"

    def _in_use(self) -> bool:
        return self._line.waiting > 0

    def _reset(self) -> None:
        self._line = WaitLine()
