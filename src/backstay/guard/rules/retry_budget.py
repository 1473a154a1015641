"""How many retries a dependency can bear.

Three layers that each try three times make 27 calls out of one, all of them sent to
a dependency that is in trouble. A budget bounds that: retries and hedges together
are at most a share of the calls made lately, plus a trickle, so that the load of a
dependency grows by that share however much fails. (Finagle's retry budget, 20 % and
10 a second; failsafe-go bounds those in flight. Both are done here.)

The calls of the last seconds are not kept one by one. As in a sliding window counter,
those of the span before count by how much of it is still in the window; so the happy
path of a call is the addition of one.
"""

from __future__ import annotations

__all__ = ["RetryBudget"]

_ROUNDING = 1e-9


class RetryBudget:
    """Decides whether one more retry may be made.

    Invariant: in any `span` of seconds at most ``ratio * calls + per_second * span`` are
    spent, where calls of up to two spans ago count in part; and no more than
    ``at_once + ratio * calls`` of them are in flight at a time.

    Attributes:
        calls: how many calls have begun, ever; whoever makes one adds 1.
        ratio: share of the calls, >= 0.
        per_second: retries a second that are allowed in any case, >= 0.
        at_once: retries at a time that are allowed in any case, >= 0.
        spent: how many retries have been allowed, ever.
        refused: how many have been refused, ever.
        retrying: how many retries are in flight.
    """

    __slots__ = (
        "_before",
        "_calls_at",
        "_span_at",
        "_spent_at",
        "_spent_before",
        "at_once",
        "calls",
        "per_second",
        "ratio",
        "refused",
        "retrying",
        "span",
        "spent",
    )

    def __init__(
        self,
        ratio: float = 0.1,
        *,
        per_second: float = 1.0,
        at_once: int = 3,
        span: float = 10.0,
    ) -> None:
        """Start with nothing counted.

        Raises:
            ValueError: a number is out of range.
        """
        if not ratio >= 0 or not per_second >= 0 or at_once < 0:
            raise ValueError(
                f"a retry budget has a ratio, a rate and a floor of at least 0, "
                f"not {ratio!r}, {per_second!r} and {at_once!r}"
            )
        if not span > 0:
            raise ValueError(f"a retry budget spans more than 0 seconds, not {span!r}")
        self.ratio = ratio
        self.per_second = per_second
        self.at_once = at_once
        self.span = span
        self.calls = self.spent = self.refused = 0
        self.retrying = 0
        # The present span began at `_span_at`, with so many calls and spent by then; in the
        # one before there were so many.
        self._span_at = float("-inf")
        self._calls_at = self._spent_at = 0
        self._before = self._spent_before = 0.0

    def try_spend(self, now: float) -> bool:
        """Allow one more retry, or not; `retry_ended` must follow when it has ended."""
        calls, spent = self._lately(now)
        allowed = self.ratio * calls + self.per_second * self.span + _ROUNDING
        if spent + 1 > allowed or self.retrying >= self.at_once + self.ratio * calls:
            self.refused += 1
            return False
        self.spent += 1
        self.retrying += 1
        return True

    def retry_ended(self, count: int = 1) -> None:
        """Note that retries which were allowed are in flight no more."""
        self.retrying -= count

    def left(self, now: float) -> float:
        """Return how many retries could be made, by what was called and spent lately."""
        calls, spent = self._lately(now)
        return self.ratio * calls + self.per_second * self.span - spent

    def _lately(self, now: float) -> tuple[float, float]:
        """Return the calls and the retries in the window that ends now."""
        self._turn(now)
        share = 1.0 - min(1.0, (now - self._span_at) / self.span)  # of the span before
        return (
            self.calls - self._calls_at + self._before * share,
            self.spent - self._spent_at + self._spent_before * share,
        )

    def _turn(self, now: float) -> None:
        """Begin a new span when the present one is over."""
        passed = now - self._span_at
        if passed < self.span:
            return
        calls, spent = self.calls - self._calls_at, self.spent - self._spent_at
        # Nobody may have looked for long: then what was counted spreads over all that time.
        spans = passed / self.span
        if spans == float("inf"):  # the first look
            self._before, self._spent_before = 0.0, 0.0
            self._span_at = now
            return
        last = 1.0 if spans < 2 else 1.0 / spans
        self._before = calls * last
        self._spent_before = float(spent) if spans < 2 else 0.0
        self._span_at = now if spans >= 2 else self._span_at + self.span
        self._calls_at, self._spent_at = self.calls, self.spent
