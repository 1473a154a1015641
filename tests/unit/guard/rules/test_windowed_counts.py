"""Counts of the last seconds, beside a list of everything that was counted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.guard.rules.windowed_counts import WindowedCounts


@given(st.lists(st.tuples(st.floats(0.0, 3.0), st.integers(0, 1)), max_size=80))
def test_totals_are_what_the_window_holds(events: list[tuple[float, int]]) -> None:
    """All of the last nine tenths of the span, and nothing older than the span."""
    window = WindowedCounts(2, span=5.0, buckets=10)
    now, seen = 100.0, []
    for gap, kind in events:
        now += gap
        window.add(kind, now)
        seen.append((now, kind))
        for each in (0, 1):
            least = sum(k == each and t > now - 4.5 for t, k in seen)
            most = sum(k == each and t > now - 5.0 for t, k in seen)
            assert least <= window.totals[each] <= most


def test_a_long_pause_empties_it_and_clear_does_at_once() -> None:
    """However long it was."""
    window = WindowedCounts(1, span=1.0, buckets=4)
    for at in (0.0, 0.3, 0.6):
        window.add(0, at)
    assert window.totals == [3]
    window.move(1e6)
    assert window.totals == [0]
    window.add(0, 1e6)
    window.clear()
    assert window.totals == [0]
    window.add(0, 1e6)
    assert window.totals == [1]


@pytest.mark.parametrize(("kinds", "span", "buckets"), [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_nonsense_is_refused(kinds: int, span: float, buckets: int) -> None:
    """A window of nothing is nobody's intent."""
    with pytest.raises(ValueError, match="window"):
        WindowedCounts(kinds, span, buckets)
