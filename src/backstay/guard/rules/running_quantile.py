"""What a call usually takes: a running quantile in one number.

Frugal streaming (Q. Ma, S. Muthukrishnan, M. Sandler, "Frugal Streaming for
Estimating Quantiles", 2013), on a logarithmic scale: each value moves the estimate
by a small factor towards itself, upwards q times as often and downwards (1 - q)
times as often in the balance, which is where the q-quantile is. It needs no memory,
costs a comparison, and knows the quantile to about a tenth once a hundred values
have been seen: all that "has this call had its usual time?" asks for.
"""

from __future__ import annotations

__all__ = ["RunningQuantile"]

_STEP = 0.1
_FIRST_STEP = 1.0  # while little is known, a value says more
_FEW = 16


class RunningQuantile:
    """A running quantile of durations.

    Attributes:
        seconds: the estimate; None before the first value.
        seen: how many values there were.
    """

    __slots__ = ("_down", "_q", "_up", "seconds", "seen")

    def __init__(self, q: float = 0.5) -> None:
        """Know nothing yet.

        Args:
            q: which quantile, in (0, 1); 0.5 is the median.

        Raises:
            ValueError: there is no such quantile.
        """
        if not 0 < q < 1:
            raise ValueError(f"a quantile lies between 0 and 1, not at {q!r}")
        self.seconds: float | None = None
        self.seen = 0
        self._q = q
        self._up, self._down = self._steps(_FIRST_STEP)

    def _steps(self, step: float) -> tuple[float, float]:
        return 1 + 2 * step * self._q, 1 + 2 * step * (1 - self._q)

    def add(self, seconds: float) -> None:
        """Learn from one call that succeeded."""
        self.seen += 1
        estimate = self.seconds
        if estimate is None or estimate <= 0.0:
            self.seconds = seconds
        elif seconds > estimate:
            estimate *= self._up
            self.seconds = min(seconds, estimate)
        elif seconds < estimate:
            estimate /= self._down
            self.seconds = max(seconds, estimate)
        if self.seen == _FEW:
            self._up, self._down = self._steps(_STEP)
