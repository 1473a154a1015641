"""When something is planned: instants on the wall clock, the same for whoever asks.

A timetable has no state and no clock. It answers one question, "which instant is the next one after
this", and two processes that ask it get the same answer: by that they agree which run is which.
"""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

__all__ = ["Every", "Timetable"]


@runtime_checkable
class Timetable(Protocol):
    """Planned instants, in unix seconds.

    `Every` is one, and so is `backstay.integrations.cron.Cron`.
    """

    def next_after(self, at: float) -> float | None:
        """Return the first planned instant that is later than `at`, or None when there is none any more.

        Always the same answer to the same question, and one after the other in order.
        """
        ...


class Every:
    """An instant each so many seconds, counted from 1970-01-01 00:00 UTC.

    Not from the start of the process: so all replicas plan the same instants, and a restart does not
    move them. `Every(900)` is at :00, :15, :30 and :45; `Every(86400, phase=7200)` at 02:00 UTC.

    Attributes:
        seconds: between two instants.
        phase: seconds by which all of them are later.
    """

    __slots__ = ("phase", "seconds")

    def __init__(self, seconds: float, *, phase: float = 0.0) -> None:
        """Describe it.

        Args:
            seconds: between two instants, >= 0.001.
            phase: seconds by which all of them are later, 0 <= phase < seconds.

        Raises:
            ValueError: a number is out of range.
        """
        if not 0.001 <= seconds < math.inf:
            raise ValueError(f"there are at least 0.001 s between two instants, not {seconds!r}")
        if not 0 <= phase < seconds:
            raise ValueError(f"0 <= phase < {seconds!r} is needed, not {phase!r}")
        self.seconds = seconds
        self.phase = phase

    def next_after(self, at: float) -> float:
        """Return the first instant after `at`."""
        # The instant of a number is always calculated in one way, so that it is the same float each
        # time; the division may be wrong by one, and is only where the search begins.
        number = math.floor((at - self.phase) / self.seconds) - 1
        while (instant := self.phase + number * self.seconds) <= at:
            number += 1
        return instant

    def __repr__(self) -> str:
        """Show the numbers."""
        phase = f", phase={self.phase:g}" if self.phase else ""
        return f"Every({self.seconds:g}{phase})"
