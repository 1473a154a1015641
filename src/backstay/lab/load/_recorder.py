"""What happened to each request, in columns; written during the run, read after it.

Why columns and no histogram: appending a number costs a tenth of recording a
value in a histogram, the generator shares its core with nobody's patience, and
every grouping can still be made afterwards.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections import defaultdict

from backstay.lab.load._arrivals import Schedule
from backstay.lab.load._result import ERROR_KINDS, SecondRecord

__all__ = ["OK", "PENDING", "Recorder"]

PENDING = -2
"""Outcome of a request that has not ended."""

OK = -1
"""Outcome of a success; a failure is its index in `ERROR_KINDS`."""

_ERROR_CODES = {name: code for code, name in enumerate(ERROR_KINDS)}


class Recorder:
    """Columns with one row per arrival of a schedule, and buckets of the seconds not yet reported.

    Invariant: ended <= begun <= len(schedule.starts).
    """

    def __init__(self, schedule: Schedule) -> None:
        """Make room for every arrival of the schedule."""
        count = len(schedule.starts)
        self.schedule = schedule
        self.kinds: list[str] = []
        self.kind: array[int] = array("H", bytes(2 * count))
        self.unaffected = bytearray(count)
        self.outcome: array[int] = array("b", [PENDING]) * count
        self.latency_s: array[float] = array("d", bytes(8 * count))
        self.lag_s: array[float] = array("d")
        self.connection_waits = 0
        self.begun = 0
        self.ended = 0
        self._kind_codes: dict[str, int] = {}
        self._buckets: defaultdict[int, _Second] = defaultdict(_Second)

    def begin(self, index: int, kind: str, *, unaffected: bool, lag_s: float) -> None:
        """Note that a request was begun, `lag_s` seconds after its intended start."""
        code = self._kind_codes.get(kind)
        if code is None:
            code = self._kind_codes[kind] = len(self.kinds)
            self.kinds.append(kind)
        self.kind[index] = code
        self.unaffected[index] = unaffected
        self.lag_s.append(lag_s)
        self.begun += 1

    def end(self, index: int, at_s: float, latency_s: float, error: str | None) -> None:
        """Note how a request ended.

        Args:
            index: its row.
            at_s: when, in seconds from the start of the load.
            latency_s: seconds from its intended start.
            error: one of `ERROR_KINDS`, or None for a success.
        """
        self.outcome[index] = OK if error is None else _ERROR_CODES[error]
        self.latency_s[index] = latency_s
        self.ended += 1
        bucket = self._buckets[int(at_s)]
        bucket.latencies_s.append(latency_s)
        if error is None:
            bucket.ok += 1

    def close_second(self, second: int) -> SecondRecord:
        """Return the record of a second that is over, and forget its values."""
        bucket = self._buckets.pop(second, None) or _Second()
        latencies_s = sorted(bucket.latencies_s)
        starts = self.schedule.starts
        done = len(latencies_s)
        return SecondRecord(
            second=second,
            sent=bisect_left(starts, second + 1) - bisect_left(starts, second),
            done=done,
            ok=bucket.ok,
            failed=done - bucket.ok,
            p50_s=_nearest_rank(latencies_s, 0.5),
            p99_s=_nearest_rank(latencies_s, 0.99),
            outstanding=self.begun - self.ended,
        )


class _Second:
    """What ended within one second."""

    __slots__ = ("latencies_s", "ok")

    def __init__(self) -> None:
        self.latencies_s: list[float] = []
        self.ok = 0


def _nearest_rank(ascending: list[float], share: float) -> float | None:
    """Return the smallest value that at least `share` of all values do not exceed."""
    if not ascending:
        return None
    return ascending[max(math.ceil(share * len(ascending)), 1) - 1]
