"""What one process holds of a shared limit: units to spend now, and units that come later.

A store hands out leases and reserves places in the future. Here both become one stream of
units that ripen: whoever stands first in line takes them when they are ripe, so that a call
which gives up leaves its place to the next one without the store being asked again.
"""

from __future__ import annotations

from collections import deque

__all__ = ["QuotaBook"]

# Sums of floats may miss by the last digits: of units, and of seconds. Without it a timer that
# strikes a last digit too early would be set again for no time at all, for ever.
_ROUNDING = 1e-9


class QuotaBook:
    """The units of one process.

    Attributes:
        held: ripe units.
        coming: units that are reserved and not ripe.
        lease: how many may be kept for calls to come.
        floor: below it, more is to be asked for; infinite while somebody waits in line, whom
            nobody may overtake.
    """

    __slots__ = ("_coming", "coming", "floor", "held", "lease")

    def __init__(self, lease: float) -> None:
        """Start with nothing."""
        self.held = 0.0
        self.lease = lease
        self.floor = lease / 2
        self._coming: deque[tuple[float, float]] = deque()  # when, how many; rising in time
        self.coming = 0.0

    @property
    def spare(self) -> float:
        """How much more is held than may be kept, while nobody waits."""
        return max(0.0, self.held - self.lease)

    def hold(self, units: float) -> None:
        """Add units that are ripe."""
        self.held += units

    def reserve(self, units: float, at: float) -> None:
        """Add units that are ripe at a time; never before those that were added earlier."""
        if self._coming and at < self._coming[-1][0]:
            at = self._coming[-1][0]
        self._coming.append((at, units))
        self.coming += units

    def ripen(self, now: float) -> float | None:
        """Move what is ripe by now to what is held; return when the next will be, None for never."""
        coming = self._coming
        while coming and coming[0][0] <= now + _ROUNDING:
            units = coming.popleft()[1]
            self.held += units
            self.coming -= units
        if coming:
            return coming[0][0]
        self.coming = 0.0  # whatever the sums of floats have missed
        return None

    def take(self, units: float) -> bool:
        """Take ripe units; tell whether there were enough."""
        if self.held - units < -_ROUNDING:
            return False
        self.held = max(0.0, self.held - units)
        return True

    def give_up(self) -> float:
        """Forget everything; return what may be given back to the store."""
        units = self.held + self.coming
        self.held = self.coming = 0.0
        self._coming.clear()
        return units
