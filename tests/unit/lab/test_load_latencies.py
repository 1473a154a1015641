"""Durations in the histogram: precision, range, and what is said without the package."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.errors import UsageError
from backstay.lab.load import Latencies


@given(st.lists(st.floats(1e-6, 60.0), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99]))
def test_quantiles_are_exact_to_three_digits(values: list[float], share: float) -> None:
    """No quantile is further from the sorted list's than the histogram's promise, or its rounding rank."""
    ordered = sorted(values)
    rank = share * len(ordered)
    near = {
        ordered[min(max(round(rank + shift) - 1, 0), len(ordered) - 1)]
        for shift in (0, 0.5, -0.5, 1)
    }
    found = Latencies(values).quantile(share)
    assert any(found == pytest.approx(value, rel=2e-3, abs=2e-6) for value in near)


def test_no_quantile_exceeds_the_largest_value() -> None:
    """A patience of ten seconds never shows as 10.007."""
    assert Latencies([10.0]).summary().p99_s == 10.0


def test_an_empty_histogram_reads_zero() -> None:
    """Nothing recorded, nothing claimed."""
    summary = Latencies().summary()
    assert (summary.count, summary.mean_s, summary.p99_s, summary.max_s) == (0, 0.0, 0.0, 0.0)


def test_values_outside_the_range_count_at_its_ends() -> None:
    """A minute and a half is not lost, and neither is a nanosecond."""
    latencies = Latencies([90.0, 1e-9])
    assert latencies.summary().count == 2
    assert latencies.quantile(1.0) == pytest.approx(60.0, rel=2e-3)


def test_without_the_package_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra to install stands in the one-line error."""
    monkeypatch.setitem(sys.modules, "hdrh.histogram", None)
    with pytest.raises(UsageError, match=r"pip install 'backstay\[lab\]'"):
        Latencies()
