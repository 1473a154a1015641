"""Durations: exact sums, quantiles to a factor of two."""

from __future__ import annotations

import pytest

from backstay.sync._durations import Durations


def test_nothing_counted_is_all_zero() -> None:
    """An empty spread has no buckets and no quantiles."""
    spread = Durations().spread()
    assert (spread.count, spread.total_s, spread.longest_s) == (0, 0.0, 0.0)
    assert (spread.p50_s, spread.p99_s, spread.buckets) == (0.0, 0.0, ())


def test_quantiles_are_known_to_a_factor_of_two() -> None:
    """Sum and longest are exact, a quantile is at most twice what it says."""
    durations = Durations()
    for _ in range(98):
        durations.record(0.001)
    durations.record(0.5)
    durations.record(1.0)
    spread = durations.spread()
    assert spread.count == 100
    assert spread.total_s == pytest.approx(1.598)
    assert spread.longest_s == 1.0
    assert 0.001 <= spread.p50_s <= 0.002
    assert 0.5 <= spread.p99_s <= 1.0
    assert sum(count for _, count in spread.buckets) == 100
    assert list(spread.buckets) == sorted(spread.buckets)


def test_a_quantile_is_never_above_the_longest() -> None:
    """The edge of the last bucket says nothing that has not been seen."""
    durations = Durations()
    durations.record(0.0011)
    assert durations.spread().p50_s == 0.0011


def test_a_wait_of_years_is_counted_too() -> None:
    """Whatever is longer than the last bucket falls into it."""
    durations = Durations()
    durations.record(1e12)
    assert durations.spread().count == 1
    assert durations.spread().longest_s == 1e12
