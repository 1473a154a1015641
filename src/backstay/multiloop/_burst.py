"""How many jobs a loop starts before it looks at its timers and sockets again.

One start for each turn of the loop is kind to timers and wastes a system call
for each job; all at once is the opposite. So a burst lasts 200 microseconds: as
many starts as fit. How many fit shows only while they run, hence the guess is
doubled while it is too low, and falls to what did fit when it was too high.
"""

from __future__ import annotations

__all__ = ["BURST_S", "Burst"]

#: Seconds of starting in one turn of the loop.
BURST_S = 200e-6

_MOST = 32


class Burst:
    """The bursts of one loop. Times are seconds on one clock that never goes back."""

    __slots__ = ("_began", "_shut", "_started", "size")

    def __init__(self) -> None:
        """Begin carefully: the first job may be one that blocks."""
        self.size = 1  # how many starts to prepare for the next burst, 1 to 32
        self._began: float | None = None
        self._started = 0
        self._shut = False

    def may_start(self, at: float) -> bool:
        """Ask before each start; the first of a burst may always."""
        if self._began is None:
            self._began = at
        elif at - self._began > BURST_S:
            self._shut = True
            return False
        self._started += 1
        return True

    def over(self, at: float) -> None:
        """The loop has come round: learn from the burst, and prepare the next one."""
        if self._began is not None:
            if self._shut or at - self._began > BURST_S:
                self.size = max(1, min(self.size, self._started) // 2)
            elif self._started >= self.size:
                self.size = min(_MOST, self.size * 2)
        self._began = None
        self._started = 0
        self._shut = False
