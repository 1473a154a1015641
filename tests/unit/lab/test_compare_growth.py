"""Memory growth: a slope that outliers cannot move."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.lab.compare import growth_pct_per_min, theil_sen


@given(st.floats(-1e3, 1e3), st.floats(-1e6, 1e6), st.integers(2, 60))
def test_a_straight_line_has_its_own_slope(slope: float, start: float, points: int) -> None:
    """Without noise the estimate is the slope itself."""
    line = [(float(t), start + slope * t) for t in range(points)]
    assert theil_sen(line) == pytest.approx(slope, abs=1e-6 * max(1.0, abs(start)))


def test_wild_samples_do_not_move_it() -> None:
    """A quarter of wild samples leaves the slope where it was."""
    line = [(float(t), 100.0 + 2.0 * t) for t in range(40)]
    for index in range(0, 40, 5):
        line[index] = (line[index][0], 10_000.0)
    assert theil_sen(line) == pytest.approx(2.0, abs=0.3)


def test_many_points_are_thinned() -> None:
    """A long run costs no more than a few hundred points."""
    assert theil_sen([(float(t), 3.0 * t) for t in range(20_000)]) == pytest.approx(3.0)


def test_no_slope_goes_through_one_moment() -> None:
    """Points of one single time have no slope, and the error says so."""
    with pytest.raises(ValueError, match="at least two different times"):
        theil_sen([(1.0, 2.0), (1.0, 3.0)])


def test_growth_is_percent_of_the_first_level_per_minute() -> None:
    """100 MB that become 118 MB within a minute grew by 18 %/min."""
    points = [(t / 2, 100.0 + 18.0 * (t / 2) / 60) for t in range(121)]
    assert growth_pct_per_min(points) == pytest.approx(18.0, rel=0.02)
    assert growth_pct_per_min([(t, 50.0) for t in range(20)]) == 0.0


@pytest.mark.parametrize(
    "points",
    [
        [(float(t), 1.0) for t in range(7)],
        [(t / 10, 1.0) for t in range(20)],
        [(float(t), 0.0) for t in range(20)],
        [],
    ],
)
def test_too_little_evidence_is_no_number(points: list[tuple[float, float]]) -> None:
    """Few samples, a short time or nothing at all give None and never a guess."""
    assert growth_pct_per_min(points) is None
