"""Who may still come in while a scheduler ends.

Every call is counted at the door when it is made, on the caller's side, and
counted out when the caller knows how it ended. So there is no moment at which a
call was accepted and nobody knows of it, and "empty" means empty.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal

from backstay.errors import ScopeClosed
from backstay.multiloop._job import Job

__all__ = ["Door"]


class Door:
    """Counts calls in and out. Safe to use from any thread.

    States: "new" before the first entry is allowed, "open", "draining" (only
    calls made by jobs that are inside come in: they are part of the work),
    "closed". Invariant: once closed, nobody is inside.
    """

    __slots__ = ("_guard", "_inside", "_name", "_when_empty", "state")

    def __init__(self, name: str) -> None:
        """Stay shut until `open`."""
        self._name = name
        self._guard = threading.Lock()
        self._inside: set[Job] = set()
        self._when_empty: Callable[[], object] | None = None
        self.state: Literal["new", "open", "draining", "closed"] = "new"

    def open(self) -> None:
        """Let calls in."""
        with self._guard:
            self.state = "open"

    def enter(self, job: Job, *, from_inside: bool) -> None:
        """Count a call in.

        Raises:
            ScopeClosed: it comes too early or too late.
        """
        with self._guard:
            may = self.state == "open" or (
                self.state == "draining" and from_inside and bool(self._inside)
            )
            if may:
                self._inside.add(job)
                return
        cure = (
            "enter it with 'async with'"
            if self.state == "new"
            else "start the work before the block ends"
        )
        raise ScopeClosed(
            f"multiloop {self._name!r} is {self.state}, {job.name} was not started: {cure}"
        )

    def leave(self, job: Job) -> None:
        """Count a call out; its caller knows how it ended."""
        with self._guard:
            self._inside.discard(job)
            call = self._close_if_empty()
        if call is not None:
            call()

    def drain(self, when_empty: Callable[[], object]) -> None:
        """Let nobody new in, and call `when_empty` once, when the last one is out."""
        with self._guard:
            self.state = "draining"
            self._when_empty = when_empty
            call = self._close_if_empty()
        if call is not None:
            call()

    def _close_if_empty(self) -> Callable[[], object] | None:
        if self.state != "draining" or self._inside:
            return None
        self.state = "closed"
        call, self._when_empty = self._when_empty, None
        return call

    def inside(self) -> list[Job]:
        """Return the jobs that have not ended."""
        with self._guard:
            return list(self._inside)

    def __len__(self) -> int:
        """Count them."""
        return len(self._inside)
