"""Durations in an HdrHistogram: from 1 microsecond to 60 seconds with three digits."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

from backstay.errors import UsageError
from backstay.lab.load._result import LatencySummary

__all__ = ["Latencies"]

_CEILING_US = 60_000_000


class Latencies:
    """A histogram of durations that reads and writes seconds.

    Values outside the range count as the nearest value inside it.
    """

    def __init__(self, durations_s: Iterable[float] = ()) -> None:
        """Fill a new histogram.

        Raises:
            UsageError: the hdrhistogram package is not installed.

        Cost:
            About 3 us a value, so build it after a run rather than during it.
        """
        self._histogram = _new_histogram()
        self._total_s = 0.0
        self._max_s = 0.0
        for duration_s in durations_s:
            self.record(duration_s)

    def record(self, duration_s: float) -> None:
        """Count one duration, in seconds."""
        micros = round(duration_s * 1e6)
        self._histogram.record_value(min(max(micros, 1), _CEILING_US))
        self._total_s += duration_s
        self._max_s = max(self._max_s, duration_s)

    def quantile(self, share: float) -> float:
        """Return the duration in seconds that `share` (0 to 1) of all values do not exceed.

        A bucket speaks for its upper edge, so the largest value seen is the limit.
        """
        if not self._histogram.total_count:
            return 0.0
        micros: int = self._histogram.get_value_at_percentile(share * 100.0)
        return min(micros / 1e6, self._max_s)

    def summary(self) -> LatencySummary:
        """Return the figures that results are made of."""
        count: int = self._histogram.total_count
        return LatencySummary(
            count=count,
            mean_s=self._total_s / count if count else 0.0,
            p50_s=self.quantile(0.5),
            p90_s=self.quantile(0.9),
            p99_s=self.quantile(0.99),
            p999_s=self.quantile(0.999),
            max_s=self._max_s,
        )

    def encode(self) -> str:
        """Return the counts in HdrHistogram's own compressed base64 form, for merging elsewhere."""
        encoded: bytes = self._histogram.encode()
        return encoded.decode("ascii")


def _new_histogram() -> Any:
    try:
        module = importlib.import_module("hdrh.histogram")  # an extra, and without types
    except ImportError as error:
        raise UsageError(
            "the lab needs the package hdrhistogram, which is not installed; "
            "install it with: pip install 'backstay[lab]'"
        ) from error
    return module.HdrHistogram(1, _CEILING_US, 3)
