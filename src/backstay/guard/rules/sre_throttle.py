"""Client-side throttling: send a dependency what it can serve, and a little more.

Source: Google, Site Reliability Engineering, chapter 21 ("Handling Overload",
adaptive throttling). Over a window count the calls that were asked for and those
that the dependency accepted; refuse with probability::

    p = max(0, (requests - minimum - k * accepts) / (requests + 1))

What is in flight counts as a request, so that a dependency that hangs is found out.
There are no states to get stuck in. While half of the calls fail, k = 1.5 sends on
three quarters of them; when all fail, a trickle of 5 % and one call a second remain,
and the first successes open the way again. Refused calls count as requests, so that
the dependency is not flooded by callers that try again.
"""

from __future__ import annotations

from backstay.guard.rules.windowed_counts import WindowedCounts

__all__ = ["ACCEPTED", "NOT_ACCEPTED", "SreThrottle"]

ACCEPTED, NOT_ACCEPTED = 0, 1


class SreThrottle:
    """Says with which probability the next call is to be refused.

    Whoever lets a call through adds 1 to `in_flight`, and takes it off again by `accepted`,
    `failed`, or by hand where the call says nothing about the dependency.

    Attributes:
        window: the calls that have ended lately, by whether they were answered.
        in_flight: calls that were let through and have not ended.
        k: how many calls are sent for each that is accepted, > 1.
        minimum: requests in the window that are let through whatever happens.
        most: the highest probability, < 1.
        every: seconds after which one call passes in any case.
    """

    __slots__ = ("_passed_at", "every", "in_flight", "k", "minimum", "most", "window")

    def __init__(
        self,
        k: float = 1.5,
        *,
        minimum: int = 20,
        most: float = 0.95,
        every: float = 1.0,
        span: float = 10.0,
        buckets: int = 40,
    ) -> None:
        """Start with an empty window of `span` seconds.

        Raises:
            ValueError: a number is out of range.
        """
        if not k > 1:
            raise ValueError(f"k is above 1, or calls were refused while all succeed, not {k!r}")
        if not 0 <= most < 1:
            raise ValueError(f"the highest probability is from 0 up to but not 1, not {most!r}")
        if minimum < 0 or not every > 0:
            raise ValueError(f"minimum >= 0 and every > 0 are needed, not {minimum!r}, {every!r}")
        self.k = k
        self.minimum = minimum
        self.most = most
        self.every = every
        self.window = WindowedCounts(2, span, buckets)
        self._passed_at = float("-inf")
        self.in_flight = 0

    def ask(self, now: float) -> float:
        """Return with which probability the next call is to be refused.

        A call that is refused in the end is to be counted by `refused`.
        """
        counts = self.window
        if now >= counts.until:
            counts.move(now)
        accepted, other = counts.totals
        in_flight = self.in_flight
        surplus = accepted + other + in_flight - self.minimum - self.k * accepted
        if surplus < 0:
            return 0.0
        if now - self._passed_at >= self.every:
            self._passed_at = now
            return 0.0
        return min(self.most, surplus / (accepted + other + in_flight + 1))

    def refused(self, now: float) -> None:
        """Count a call that was refused."""
        self.window.add(NOT_ACCEPTED, now)

    def accepted(self, now: float) -> None:
        """Count a call that has ended, and that the dependency answered."""
        self.in_flight -= 1
        self.window.add(ACCEPTED, now)

    def failed(self, now: float) -> None:
        """Count a call that has ended, and that the dependency did not answer."""
        self.in_flight -= 1
        self.window.add(NOT_ACCEPTED, now)

    def probability(self, now: float) -> float:
        """Return with which probability a call would be refused now."""
        requests, accepted = self.counts(now)
        surplus = requests - self.minimum - self.k * accepted
        return max(0.0, min(self.most, surplus / (requests + 1)))

    def counts(self, now: float) -> tuple[int, int]:
        """Return how many calls of the window, and in flight, there are, and how many were answered."""
        self.window.move(now)
        accepted, other = self.window.totals
        return accepted + other + self.in_flight, accepted

    def clear(self) -> None:
        """Forget the window; what is in flight stays."""
        self.window.clear()
        self._passed_at = float("-inf")
