"""Axes: ticks that people like, values in their place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.lab.report._scale import linear, logarithmic, nice_step


@pytest.mark.parametrize(
    ("span", "wanted", "step"),
    [(12_480, 4, 5000), (100, 4, 50), (60, 6, 10), (9.6, 1, 10), (1, 10, 0.1)],
)
def test_steps_are_one_two_or_five(span: float, wanted: int, step: float) -> None:
    """Ticks stand at round numbers."""
    assert nice_step(span, wanted) == pytest.approx(step)


@given(st.floats(1e-3, 1e9))
def test_a_linear_axis_holds_its_values(high: float) -> None:
    """The axis begins at zero, ends at a tick, and has a handful of them."""
    scale = linear(high)
    assert scale.low == 0
    assert scale.high >= high * (1 - 1e-9)
    assert 2 <= len(scale.ticks) <= 7
    assert scale.place(0) == 0
    assert scale.place(scale.high) == pytest.approx(1)


@given(st.floats(1e-2, 1e6), st.floats(1, 1e4))
def test_a_log_axis_spans_whole_decades(low: float, factor: float) -> None:
    """Both values lie on the axis, in their order."""
    scale = logarithmic(low, low * factor)
    assert 0 <= scale.place(low) <= scale.place(low * factor) <= 1
    assert scale.high / scale.low >= 9.99


def test_values_outside_are_put_at_the_ends() -> None:
    """A point never leaves the chart."""
    scale = logarithmic(10, 1000)
    assert (scale.place(1), scale.place(1e9)) == (0, 1)
    assert scale.ticks == (10, 20, 50, 100, 200, 500, 1000)
    assert logarithmic(1, 10_000).ticks == (1, 10, 100, 1000, 10_000)


def test_a_flat_curve_still_has_an_axis() -> None:
    """No values, or only zero, give an axis of one."""
    assert linear(0).high == 1
