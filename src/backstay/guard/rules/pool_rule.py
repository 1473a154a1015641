"""What a pool does with a resource: keep it, close it, or open another.

The decisions are those of Go's ``database/sql`` (`src/database/sql/sql.go`): an idle
resource is taken last in, first out, so that those that are not needed grow old;
one that has lived or idled for too long is closed when it is met; and no more are
open than the limit, those that are being opened included. Lifetimes are spread by
a tenth, which Go leaves to the driver: resources that were opened together must not
all be closed together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["ClosedBecause", "PoolRule"]

ClosedBecause: TypeAlias = Literal["idle", "idle_time", "lifetime", "bad", "closed"]
"""Why a resource was closed: too many were idle, it idled or lived too long, it was broken, the end."""


@dataclass(frozen=True, slots=True)
class PoolRule:
    """The limits of a pool.

    Attributes:
        max_open: resources at a time, >= 1.
        max_idle: resources that are kept while nobody uses them, 0 <= max_idle <= max_open.
        lifetime: seconds after which one is not handed out again; None for ever.
        idle_time: seconds without use after which one is not handed out again; None for ever.
    """

    max_open: int = 10
    max_idle: int = 10
    lifetime: float | None = 1800.0
    idle_time: float | None = 300.0

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: one is out of range.
        """
        if self.max_open < 1:
            raise ValueError(f"max_open is at least 1, not {self.max_open!r}")
        if not 0 <= self.max_idle <= self.max_open:
            raise ValueError(f"max_idle is from 0 to max_open, not {self.max_idle!r}")
        for name, value in (("lifetime", self.lifetime), ("idle_time", self.idle_time)):
            if value is not None and not value > 0:
                raise ValueError(f"{name} is above 0 seconds, or None, not {value!r}")

    def dies_at(self, opened: float, dice: float) -> float:
        """Return when a resource that was opened then has lived long enough, +-10 % by the dice."""
        return (
            float("inf") if self.lifetime is None else opened + self.lifetime * (0.9 + 0.2 * dice)
        )

    def stale(self, dies_at: float, idle_since: float, now: float) -> ClosedBecause | None:
        """Say why an idle resource must not be handed out; None when it may."""
        if now >= dies_at:
            return "lifetime"
        if self.idle_time is not None and now - idle_since >= self.idle_time:
            return "idle_time"
        return None

    def surplus(self, dies_at: float, now: float, open_: int, idle: int) -> ClosedBecause | None:
        """Say why a resource that comes back, and that nobody waits for, is not kept; None when it is.

        Args:
            dies_at: when it has lived long enough.
            now: seconds.
            open_: how many are open, this one included.
            idle: how many are idle, this one not included.
        """
        if now >= dies_at:
            return "lifetime"
        if open_ > self.max_open or idle >= self.max_idle:
            return "idle"
        return None

    def to_open(self, waiting: int, opening: int, open_: int) -> int:
        """Return how many more to begin to open for those who wait.

        Args:
            waiting: callers in line.
            opening: how many are being opened.
            open_: how many are open.
        """
        return max(0, min(waiting - opening, self.max_open - open_ - opening))
