"""GCRA: exact about what is admitted and about when to come back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.guard.rules.gcra import Gcra

RATES = st.floats(0.1, 1000.0)
BURSTS = st.floats(1.0, 100.0)


def test_a_full_burst_then_the_rate() -> None:
    """After a pause a burst goes at once, and what comes then keeps the rate."""
    limit = Gcra(10.0, 3.0)
    assert [limit.take(1, 0.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert limit.take(1, 0.0) == pytest.approx(0.1)
    assert limit.take(1, 0.1) == 0.0
    assert limit.take(1, 0.15) == pytest.approx(0.05)
    assert limit.level(100.0) == 3.0
    assert limit.take(3, 100.0) == 0.0


def test_a_larger_cost_waits_for_all_of_it() -> None:
    """Nothing is taken in part."""
    limit = Gcra(10.0, 5.0)
    assert limit.take(4, 0.0) == 0.0
    assert limit.take(4, 0.0) == pytest.approx(0.3)
    assert limit.level(0.0) == pytest.approx(1.0)
    assert limit.take(4, 0.3) == 0.0


def test_what_is_given_back_can_be_taken_again() -> None:
    """A permit that was not used is as if it had never been taken."""
    limit = Gcra(1.0, 2.0)
    limit.take(2, 0.0)
    limit.give_back(1)
    assert limit.take(1, 0.0) == 0.0
    assert limit.take(1, 0.0) == pytest.approx(1.0)


@given(RATES, BURSTS, st.lists(st.floats(0.0, 2.0), max_size=60))
def test_no_span_admits_more_than_a_burst_and_the_rate(
    rate: float, burst: float, gaps: list[float]
) -> None:
    """In any d seconds at most burst + rate * d."""
    limit = Gcra(rate, burst)
    now, admitted = 0.0, []
    for gap in gaps:
        now += gap
        if limit.take(1, now) == 0.0:
            admitted.append(now)
    for first in range(len(admitted)):
        for last in range(first, len(admitted)):
            span = admitted[last] - admitted[first]
            assert last - first + 1 <= burst + rate * span + 1e-6


@given(RATES, BURSTS, st.integers(1, 30))
def test_the_wait_it_names_is_enough_and_not_too_long(rate: float, burst: float, n: int) -> None:
    """Coming back after `retry_after` succeeds, and a little sooner does not."""
    limit = Gcra(rate, burst)
    now = 0.0
    for _ in range(n):
        wait = limit.take(1, now)
        if wait:
            assert limit.wait(1, now) == pytest.approx(wait, abs=1e-6)
            assert limit.take(1, now + wait * 0.5) > 0
            now += wait
            assert limit.take(1, now) == 0.0


@pytest.mark.parametrize(
    ("rate", "burst"), [(0, 1), (-1, 1), (float("inf"), 1), (1, 0.5), (1, float("nan"))]
)
def test_nonsense_is_refused(rate: float, burst: float) -> None:
    """With the value seen and what was expected."""
    with pytest.raises(ValueError, match="not"):
        Gcra(rate, burst)


@pytest.mark.parametrize("cost", [0, -1, 3])
def test_a_cost_that_never_fits_is_an_error_and_no_wait(cost: float) -> None:
    """Waiting would last for ever."""
    with pytest.raises(ValueError, match="burst of 2"):
        Gcra(1.0, 2.0).take(cost, 0.0)
