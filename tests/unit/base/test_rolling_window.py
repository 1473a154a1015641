"""Sums over the last seconds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay._base import RollingWindow

steps = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5)), max_size=60)


@given(steps, st.integers(0, 40))
def test_it_agrees_with_a_list_of_samples(additions: list[tuple[int, int]], wait: int) -> None:
    """With whole seconds and one-second steps the window is exact, whatever the gaps."""
    window = RollingWindow(span=10, buckets=10)
    at, samples = 0, []
    for gap, value in additions:
        at += gap
        window.add(value, at)
        samples.append((at, value))
    at += wait
    expected = sum(value for when, value in samples if at - 10 < when <= at)
    assert window.total(at) == expected
    assert window.rate(at) == expected / 10


@pytest.mark.parametrize(("span", "buckets"), [(0, 10), (-1, 10), (10, 0)])
def test_an_impossible_window_is_refused(span: float, buckets: int) -> None:
    """A window needs a span and at least one step."""
    with pytest.raises(ValueError, match="a window needs"):
        RollingWindow(span, buckets)
