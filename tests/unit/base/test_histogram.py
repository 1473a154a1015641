"""Counting values so that quantiles can be asked later."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay._base import Histogram

values = st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=200)


@given(values, st.floats(0, 1))
def test_a_quantile_is_off_by_at_most_a_thirty_second(numbers: list[float], q: float) -> None:
    """The answer is the true order statistic or up to 1/32 above it."""
    histogram = Histogram()
    for number in numbers:
        histogram.record(number)
    true = sorted(numbers)[max(0, math.ceil(q * len(numbers) - 1e-9) - 1)]
    assert true * (1 - 1e-9) <= histogram.quantile(q) <= true * (1 + 1 / 32) * (1 + 1e-9)


@given(values, values)
def test_merging_is_the_same_as_recording_everything_in_one(a: list[float], b: list[float]) -> None:
    """Histograms of two processes add up."""
    first, second, both = Histogram(), Histogram(), Histogram()
    for number in a:
        first.record(number)
        both.record(number)
    for number in b:
        second.record(number)
        both.record(number)
    first.merge(second)
    assert list(first.buckets()) == list(both.buckets())
    assert (first.count, first.lowest, first.highest) == (both.count, both.lowest, both.highest)
    assert first.mean == pytest.approx(both.mean)


def test_empty_and_zero_are_no_special_trouble() -> None:
    """An empty histogram answers 0, zeros are counted, merging an empty one changes nothing."""
    histogram = Histogram()
    assert (histogram.quantile(0.5), histogram.mean) == (0.0, 0.0)
    histogram.record(0.0, 3)
    histogram.record(8.0)
    histogram.merge(Histogram())
    assert histogram.quantile(0.5) == 0.0
    assert histogram.quantile(1.0) == 8.0
    assert next(histogram.buckets()) == (0.0, 3)
    empty = Histogram()
    empty.merge(histogram)
    assert empty.lowest == 0.0


@pytest.mark.parametrize("wrong", [-1.0, math.inf, math.nan])
def test_what_cannot_be_counted_is_refused(wrong: float) -> None:
    """Negative, infinite and undefined values are errors that show the value."""
    with pytest.raises(ValueError, match="finite numbers"):
        Histogram().record(wrong)


def test_a_quantile_outside_0_to_1_is_refused() -> None:
    """Asking for the 99th percentile as 99 is a slip worth an error."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        Histogram().quantile(99)
