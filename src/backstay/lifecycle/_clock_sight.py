"""Noticing that somebody has set the clock: the wall's seconds against those of the monotonic clock."""

from __future__ import annotations

__all__ = ["ClockSight"]


class ClockSight:
    """Compares two clocks from look to look.

    A suspended machine looks like a jump forward, since the monotonic clock stands still meanwhile;
    so it is one, as far as planned instants are concerned. Slow corrections are none.

    Attributes:
        jumps: how many were noticed.
        last_s: the last one in seconds; negative when the clock was set back.
    """

    __slots__ = ("_between", "jumps", "last_s")

    def __init__(self) -> None:
        """Begin at the first look."""
        self._between: float | None = None
        self.jumps = 0
        self.last_s = 0.0

    def look(self, wall: float, monotonic: float, least: float = 1.0) -> float:
        """Return by how many seconds the wall clock has jumped since the last look; 0.0 for less than `least`."""
        before, self._between = self._between, wall - monotonic
        if before is None or abs(self._between - before) < least:
            return 0.0
        self.jumps += 1
        self.last_s = self._between - before
        return self.last_s
