"""When a loop counts as blocked, as arithmetic only.

Somebody looks at a loop now and then and tells this rule what was seen; the
rule keeps what is certain. Nobody is told when a callback begins, so its
beginning lies between two looks: the rule assumes the earlier one, but never
more than a quarter of the limit before the callback was first seen. From that
follows what the limit promises:

* a block longer than 5/4 of the limit is always reported, one longer than the
  limit nearly always (all of them, unless the loop had been idle for long);
* nothing shorter than 3/4 of the limit is ever reported;
* the report comes at most 5/4 of the limit after the block began.
"""

from __future__ import annotations

__all__ = ["BlockRule"]

# A quarter of the limit between two looks, within these bounds (seconds): looking more
# often than 400 times a second would be felt, and 25 ms is early enough for any limit.
_SHORTEST_STEP = 0.0025
_LONGEST_STEP = 0.025

# Looks without anything to see after which the looks get twice as rare.
_IDLE_LOOKS = 40


class BlockRule:
    """Follows one loop. Times are seconds on one clock that never goes back.

    Invariant: `since` is None, or the loop has not come round after it as far
    as anybody could see.
    """

    __slots__ = ("_idle_looks", "_looked_at", "_reported", "limit", "since", "step")

    def __init__(self, limit: float) -> None:
        """Report blocks of `limit` seconds and more.

        Raises:
            ValueError: the limit is not positive.
        """
        if not 0 < limit < float("inf"):
            raise ValueError(f"the limit of a block must be more than 0 seconds, not {limit!r}")
        self.limit = limit
        self.step = min(max(limit / 4, _SHORTEST_STEP), _LONGEST_STEP)  # between two looks
        self.since: float | None = None  # when the present callback can have begun; None: idle
        self._looked_at: float | None = None  # the last look
        self._reported = False  # whether the present block was reported
        self._idle_looks = 0

    def idle(self, at: float) -> float | None:
        """The loop was seen waiting for something to do.

        Returns:
            The duration of the block that is over with this, or None.
        """
        self._looked_at = at
        self._idle_looks += 1
        return self._end(at)

    def busy(self, at: float, *, same: bool) -> float | None:
        """The loop was seen at work.

        Args:
            at: when.
            same: whether it was certainly in the same callback as at the last look.

        Returns:
            The duration of the block that is over because another callback runs now.
        """
        self._idle_looks = 0
        before, self._looked_at = self._looked_at, at
        if same and self.since is not None:
            return None
        ended = None if before is None else self._end(before)
        earliest = at - self.limit / 4
        self.since = at if before is None else max(before, earliest)
        return ended

    def came_round(self, at: float) -> float | None:
        """The loop itself has said that it came round at the time `at`.

        Returns:
            The duration of the block that was over at that moment, or None.
        """
        if self.since is None or at < self.since:
            return None
        ended = self._end(at)
        self._looked_at = max(at, self._looked_at or at)
        return ended

    def overdue(self, at: float) -> bool:
        """Tell, once for each block, that the limit has passed."""
        if self._reported or self.since is None or at - self.since < self.limit:
            return False
        self._reported = True
        return True

    def held(self, since: float, at: float) -> None:
        """The loop is known to have been in the present callback since `since`.

        For one whose beginning nobody could see, because it let nobody run.
        """
        self.since = since
        self._looked_at = at

    def skip(self, seconds: float, at: float) -> None:
        """The last `seconds` count for nobody, and the loop is in the same callback as before them.

        So who looks may be late again and again, on a machine with too much to do, and still
        see a block; it only lasts as long as was looked at. A process that was stopped has blocked nothing.
        """
        if self.since is not None:
            self.since = min(self.since + seconds, at)
        self._looked_at = at

    def forget(self, at: float) -> None:
        """Accuse nobody of what has been: it is not known what happened."""
        self.since = None
        self._reported = False
        self._looked_at = at

    def pause(self, at: float) -> float:
        """Return the seconds until the next look."""
        if self.since is not None and not self._reported:
            return max(0.0005, min(self.step, self.since + self.limit - at))
        return self.step * 2 if self._idle_looks >= _IDLE_LOOKS else self.step

    def _end(self, at: float) -> float | None:
        since, self.since = self.since, None
        reported, self._reported = self._reported, False
        if since is None or (at - since < self.limit and not reported):
            return None
        return at - since
