"""How much one event loop may have in flight, by how late its own timers come.

A loop is one queue with one server. When it has more to do than it can, a timer
that is due waits behind everything that is ready, so a heartbeat's delay *is*
the delay that the next request would see. That is worth more than what others
go by: the processor's load (one loop on four cores never shows more than 25 %),
or the time that requests take (which says more about the databases behind).

The cap is moved at most every `INTERVAL_S`, on the *least* delay of the
heartbeats since, for a single late one is a pause and not a queue:

* later than the target: the cap was too large. It becomes what was really in
  flight at most, times ``target / lag``, though at least half of it.
* on time, and the cap was in the way (half of it was used, or somebody refused):
  it doubles until it was cut for the first time (slow start), if no heartbeat was
  late at all, and grows by a twentieth and one from then on.
* on time and unused: it stays, so that an idle night does not open the door wide.

Three of these were learned from a real server on which an unbounded start and a
fixed cut by a tenth failed completely: one turn of a loop can let in thousands of
requests that were already buffered, before a heartbeat comes round to see it. So
the start is finite; the cut is in proportion; and it is taken from the peak,
since a cap that nobody has reached says nothing. The idea of a target delay is
CoDel's, slow start and the gentle growth after it are TCP's (V. Jacobson, 1988);
putting them on the lag of an event loop is our own.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

__all__ = ["HEARTBEAT_S", "INTERVAL_S", "START", "TARGET_S", "LagCap"]

TARGET_S = 0.020
"""The delay that a loop may have. With 10 ms a real server lost a tenth of its goodput on a noisy
machine, with 20 ms none, and its 99th percentile stayed below 110 ms at nine times its capacity."""

START = 32
"""The first cap: what any loop can take at once; 0.4 s of slow start make 512 of it."""

HEARTBEAT_S = 0.020
"""How often the loop's lag is looked at: five times an interval, at less than a thousandth of its time."""

INTERVAL_S = 0.100
"""How often the cap is moved at most; longer than a turn of a loop that is near its target."""

_LEAST_HEARTBEATS = 2  # one that is late may be a collection of garbage, or one slow call
_CUT = 0.5  # what is left of it at least, at a time
_GROWTH = 1.05


@dataclass(slots=True)
class LagCap:
    """The cap on what one loop has in flight.

    Attributes:
        target: seconds that a heartbeat may be late.
        cap: how much may be in flight now, >= 1; the limit is the whole number below.
        slow_start: whether it has never been cut yet, and so doubles.
        lowest: the least delay since the last decision, infinite while there was no heartbeat.
        heartbeats: how many there were since.
        since: when that decision was.
        tight: whether a heartbeat was late lately, so that what ends in a turn of the loop counts
            until the turn is over. A handler that never waits is over as soon as it was let in;
            without that, a queue of thousands of them would never look like one.
        late: whether one was since the last decision.
    """

    target: float = TARGET_S
    cap: float = float(START)
    slow_start: bool = True
    lowest: float = inf
    heartbeats: int = 0
    since: float = -inf
    tight: bool = False
    late: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            ValueError: the target is not above 0, or the cap below 1.
        """
        if not 0 < self.target < inf:
            raise ValueError(f"the target is a time above 0 seconds, not {self.target!r}")
        if not 1 <= self.cap < inf:
            raise ValueError(f"a cap starts at 1 or more in flight, not {self.cap!r}")

    @property
    def limit(self) -> int:
        """How much may be in flight now, >= 1."""
        return int(self.cap)

    def hear(self, lag: float) -> None:
        """A heartbeat came, `lag` seconds after it was due."""
        self.heartbeats += 1
        if lag < self.lowest:
            self.lowest = lag
        if lag > self.target:
            self.tight = self.late = True

    def decide(self, now: float, peak: int, refused: int) -> bool:
        """Move the cap, if it is time to.

        Args:
            now: seconds on a clock that never goes back.
            peak: the most that was in flight at once since the last decision.
            refused: how many were refused since.

        Returns:
            Whether it was time; peak and refusals are to be counted anew then.
        """
        if self.heartbeats < _LEAST_HEARTBEATS or now - self.since < INTERVAL_S:
            return False
        lag = self.lowest
        if lag > self.target:
            self.slow_start = False
            self.cap = max(1.0, min(self.cap, peak) * max(_CUT, self.target / lag))
        elif (2 * peak >= self.cap or refused) and not (self.slow_start and self.late):
            self.cap = 2 * self.cap if self.slow_start else _GROWTH * self.cap + 1
        self.lowest = inf
        self.heartbeats = 0
        self.since = now
        self.tight, self.late = self.late, False
        return True
