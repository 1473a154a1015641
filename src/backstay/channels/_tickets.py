"""How a task is woken from another thread.

Only the thread of a loop may touch its futures. So a task that waits at a shared
channel holds a ticket: whoever serves it, in whichever thread, first *claims* the
ticket, which can be done once, and then asks the ticket's loop to wake the task.
Between the two the task may be cancelled; since the ticket is claimed by then,
the task knows that it was served and gives back what it got.

Locks are taken in one order: channels by their `id`, then the ticket.
"""

from __future__ import annotations

import asyncio
import threading
from asyncio import InvalidStateError
from typing import Any, Final

from backstay.sync._wake_queue import WakeQueue, wake_queue

__all__ = ["TICKET_OFFICE", "Ticket"]


class Ticket:
    """One parked task that may be served from any thread, once.

    It has as much of a future's face as `WaitLine` and `WakeQueue.wake` look at,
    so a select over shared and unshared channels can stand in both sorts of lines.

    Attributes:
        value: what it was served with; meaningful once `claim_back` returned False.
    """

    __slots__ = ("_claimed", "_lock", "_queue", "value", "waiter")

    def __init__(self) -> None:
        """Make a ticket for the running task; await its `waiter`."""
        self._queue = wake_queue()
        self.waiter = self._queue.waiter()
        self._lock = threading.Lock()
        self._claimed = False
        self.value: Any = None

    def done(self) -> bool:
        """Whether it was claimed."""
        return self._claimed

    def set_result(self, value: Any) -> None:
        """Claim it, and wake its task with `value`.

        Raises:
            InvalidStateError: it was claimed before, or its loop is closed.
        """
        with self._lock:
            if self._claimed:
                raise InvalidStateError("served before")
            self._claimed = True
            self.value = value
            if asyncio._get_running_loop() is self._queue.loop:
                self._queue.wake(self.waiter, value)
                return
            try:
                self._queue.loop.call_soon_threadsafe(self._queue.wake, self.waiter, value)
            except RuntimeError:  # asyncio has no other word for a closed loop
                raise InvalidStateError("its loop is closed") from None

    def claim_back(self) -> bool:
        """Claim it for its own task, which gave up; False when it had been served."""
        with self._lock:
            if self._claimed:
                return False
            self._claimed = True
            return True


class _TicketOffice(WakeQueue):
    """Wakes holders of tickets; stands where an unshared channel has its loop's run queue."""

    __slots__ = ()

    def __init__(self) -> None:
        # No loop of its own: a ticket knows whose it is.
        self.wakes_per_turn = 0


TICKET_OFFICE: Final = _TicketOffice()
