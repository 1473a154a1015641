"""The two trend tests, against values worked out by hand and against their definitions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.leak import mann_kendall, theil_sen


def test_a_strict_rise_of_ten_points_has_the_textbook_z() -> None:
    """S = 45 and Var = 125 give z = 44 / sqrt(125) = 3.935 (Gilbert 1987, 16.4)."""
    trend = mann_kendall(list(range(10)))
    assert trend.s == 45
    assert trend.z == pytest.approx(3.9355, abs=1e-4)
    assert trend.p_rising == pytest.approx(4.15e-5, rel=0.01)


def test_ties_shrink_the_variance() -> None:
    """With groups of 2 and 3 equal values, Var is (n(n-1)(2n+5) - 18 - 66) / 18."""
    values = [1.0, 1.0, 2.0, 2.0, 2.0, 3.0]
    variance = (6 * 5 * 17 - 18 - 66) / 18
    trend = mann_kendall(values)
    assert trend.s == 11  # 15 pairs, 4 of them equal
    assert trend.z == pytest.approx((11 - 1) / variance**0.5)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0], [5.0] * 30])
def test_nothing_to_compare_is_no_trend(values: list[float]) -> None:
    """Too few points, or points that never move, say neither up nor down."""
    assert mann_kendall(values).p_rising == 1.0
    assert mann_kendall(values).z == 0.0


@given(st.lists(st.integers(0, 50), min_size=3, max_size=30))
def test_reading_a_series_backwards_turns_the_trend_round(values: list[int]) -> None:
    """Mann-Kendall is antisymmetric in time."""
    assert mann_kendall(values).s == -mann_kendall(values[::-1]).s
    assert mann_kendall(values).z == pytest.approx(-mann_kendall(values[::-1]).z)


@given(
    st.lists(st.integers(0, 50), min_size=3, max_size=30), st.integers(1, 9), st.integers(-99, 99)
)
def test_scaling_and_shifting_leave_the_trend_alone(values: list[int], by: int, plus: int) -> None:
    """Only the order of the values counts."""
    assert mann_kendall([by * v + plus for v in values]) == mann_kendall(values)


def test_a_line_has_its_own_slope() -> None:
    """On a straight line every pair has the same slope, at uneven times too."""
    times = [0.0, 1.0, 4.0, 5.0, 11.0]
    slope = theil_sen(times, [3 * t + 7 for t in times])
    assert (slope.value, slope.low, slope.high) == pytest.approx((3, 3, 3))


def test_one_burst_does_not_bend_the_slope() -> None:
    """The median of pairs ignores an outlier that would triple a least-squares slope."""
    values = [float(k) for k in range(21)]
    values[18] = 500.0
    assert theil_sen(list(range(21)), values).value == pytest.approx(1.0)


def test_the_interval_is_that_of_sen() -> None:
    """For 10 untied points C = 2.576 * sqrt(125) = 28.8, so ranks 8 and 37 of 45 bound the slope."""
    values = [1.0, 3.0, 2.0, 5.0, 4.0, 7.0, 6.0, 9.0, 8.0, 10.0]
    pairs = sorted((values[j] - values[i]) / (j - i) for j in range(10) for i in range(j))
    slope = theil_sen(list(range(10)), values)
    assert slope.value == pairs[22]
    assert slope.low == pairs[8]
    assert slope.high == pairs[37]


def test_the_median_of_an_even_number_of_pairs_is_the_mean_of_the_middle_two() -> None:
    """Four points make six pairs."""
    assert theil_sen([0, 1, 2, 3], [0, 1, 4, 9]).value == pytest.approx(3.0)


def test_a_single_point_has_no_slope() -> None:
    """Without pairs the slope is zero and its interval too."""
    slope = theil_sen([1.0], [5.0])
    assert (slope.value, slope.low, slope.high) == (0.0, 0.0, 0.0)


@given(st.lists(st.integers(0, 100), min_size=2, max_size=25))
def test_the_slope_lies_in_its_interval(values: list[int]) -> None:
    """Low <= value <= high for any series."""
    slope = theil_sen(list(range(len(values))), values)
    assert slope.low <= slope.value <= slope.high
