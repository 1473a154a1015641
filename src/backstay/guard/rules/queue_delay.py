"""How long one may stand in a line that does not get shorter: CoDel, as servers use it.

A line that empties now and then is doing its job: it evens out a burst. One that
has not been empty for a whole interval only makes everybody late, however long
it is allowed to be. So time decides, and not length: once somebody has been in
line without a break for `interval`, whoever has waited longer than `target` is
sent away.

The rule is the one in "Fail at Scale" (B. Maurer, ACM Queue 13/8, 2015): patience
is `target` when the line was last empty more than `interval` ago, and `interval`
otherwise. Since nobody can have waited for longer than the line exists, both
halves come to one instant, `due`. Its origin is CoDel (K. Nichols and
V. Jacobson, ACM Queue 10/5, 2012), which drops packets ever more often instead;
folly's `Codel` keeps the least delay of an interval for a signal, which the next
paragraph rules out.

While such a line is *overloaded* the newest is served first, as there, too
("adaptive LIFO"): first come, first served would spend all the work on those
whose callers have nearly given up. With the newest served first the delay of
those served says nothing, so the signal is when the line was last empty.

The line counts as overloaded from the first who is sent away until it is empty
again, or until an interval has passed in which nobody had to be. A line that is
never empty and still moves quickly is first come, first served, as it should be.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

__all__ = ["INTERVAL_S", "TARGET_S", "QueueDelay"]

TARGET_S = 0.020
"""How long one may wait in a line that does not empty. folly's 5 ms are for a thread pool;
an event loop's own turns take several of them under load, and 20 ms lost no goodput."""

INTERVAL_S = 0.100
"""How long a burst may take to be worked off; folly's and CoDel's value."""


@dataclass(slots=True)
class QueueDelay:
    """Decides who has waited too long, and from which end the line is served.

    Invariant: `since` is set exactly while somebody is in line.

    Attributes:
        target: seconds that one may wait in a line that does not empty; infinite to allow any wait.
        interval: seconds without a break for which a line may be there, >= target.
        longest: seconds that anybody may wait at most, whatever the line does.
        since: when the line was last found empty; None while nobody is in it.
        dropped: when somebody was last sent away from this line; None if nobody was.
    """

    target: float = TARGET_S
    interval: float = INTERVAL_S
    longest: float = inf
    since: float | None = None
    dropped: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            ValueError: a time is not above 0, or the target is above the interval.
        """
        for what in ("target", "interval", "longest"):
            if not getattr(self, what) > 0:
                raise ValueError(
                    f"{what} is a time above 0 seconds, not {getattr(self, what)!r}; "
                    f"None leaves it out"
                )
        if self.target > self.interval and self.target != inf:
            raise ValueError(
                f"a target of {self.target:g} s is above the interval of {self.interval:g} s: a line "
                f"is watched for at least as long as one may wait in it; raise the interval, too"
            )

    def join(self, now: float) -> None:
        """Somebody joins the line."""
        if self.since is None:
            self.since = now

    def empty(self) -> None:
        """The line has become empty."""
        self.since = self.dropped = None

    def due(self, joined: float) -> float:
        """Return from when on somebody has waited too long; for the oldest in line.

        Args:
            joined: when that was, in the same seconds.

        Returns:
            Seconds on the caller's clock; infinite when any wait is allowed.
        """
        since = joined if self.since is None else self.since
        late = max(since + self.interval, joined + self.target)
        return min(late, joined + self.longest)

    def drop(self, now: float) -> None:
        """Somebody was sent away for having waited too long."""
        if self.target < inf:  # otherwise it is a line like any other, with a limit on waits
            self.dropped = now

    def overloaded(self, now: float) -> bool:
        """Tell whether the newest is to be served first."""
        return self.dropped is not None and now - self.dropped <= self.interval
