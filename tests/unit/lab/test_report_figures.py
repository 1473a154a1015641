"""How figures are written for people."""

from __future__ import annotations

import pytest

from backstay.lab.report import count, duration_ms, growth, memory_mb, share, times


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (4.21, "4.2 ms"),
        (9.97, "10 ms"),
        (127.4, "127 ms"),
        (999.6, "1.0 s"),
        (2800, "2.8 s"),
        (100_000, "100 s"),
    ],
)
def test_latencies_have_three_digits_at_most(ms: float, text: str) -> None:
    """Milliseconds below a second, seconds above."""
    assert duration_ms(ms) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "100 %"),
        (0.83149, "83.1 %"),
        (0.99957, "99.957 %"),
        (0.9951, "99.51 %"),
        (0.9999999, "99.999 %"),
        (0.0, "0.0 %"),
    ],
)
def test_shares_are_cut_so_that_almost_all_is_not_all(value: float, text: str) -> None:
    """Only all is 100 %."""
    assert share(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (18.04, "+18.0 %/min"), (-0.04, "0.0 %/min"), (-1.26, "−1.3 %/min")],
)
def test_growth_has_a_sign_and_no_negative_zero(value: float | None, text: str) -> None:
    """A sign says which way, and nothing grows by minus nothing."""
    assert growth(value) == text


def test_the_rest() -> None:
    """Counts have separators, sizes and ratios no more digits than help."""
    assert count(12480) == "12,480"
    assert memory_mb(84.23) == "84.2 MB"
    assert memory_mb(1204.2) == "1,204 MB"
    assert times(12.19) == "12.2×"
    assert times(1234.5) == "1,234×"
    assert times(float("inf")) == "∞×"
