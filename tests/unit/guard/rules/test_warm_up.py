"""Warm-up: low after a start and a pause, full after a period, and never more than plain GCRA."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.guard.rules.gcra import Gcra
from backstay.guard.rules.warm_up import WarmUp, WarmUpRate

RATES = st.floats(1.0, 1000.0)
BURSTS = st.floats(1.0, 50.0)
COLD = st.floats(1.1, 10.0)
PERIODS = st.floats(0.5, 60.0)


def greedy(limit: Gcra, begin: float, end: float) -> list[float]:
    """Take one unit whenever one is free; return when."""
    now, taken = begin, []
    while now < end:
        wait = limit.take(1, now)
        if wait == 0.0:
            taken.append(now)
        now += wait
    return taken


@given(RATES, BURSTS, COLD, PERIODS)
def test_in_steady_use_it_is_warm_after_exactly_a_period(
    rate: float, burst: float, cold: float, period: float
) -> None:
    """It begins at rate / cold_factor and climbs in a straight line."""
    limit = WarmUpRate(rate, burst, settings=WarmUp(period, cold))
    assert limit.height(0.0) == pytest.approx(rate / cold)
    limit.owe(10 * rate * period, 0.0)  # spoken for, for longer than a period
    assert limit.height(period / 2) == pytest.approx(rate * (1 + 1 / cold) / 2)
    assert limit.height(period) == pytest.approx(rate)
    assert limit.height(period * 1.5) == pytest.approx(rate)


@given(RATES, BURSTS, COLD, PERIODS, st.lists(st.floats(0.0, 3.0), max_size=60))
def test_it_never_admits_more_than_plain_gcra(
    rate: float, burst: float, cold: float, period: float, gaps: list[float]
) -> None:
    """In any span of d seconds at most burst + rate * d, whatever the pauses."""
    limit = WarmUpRate(rate, burst, settings=WarmUp(period, cold))
    now, taken = 0.0, []
    for gap in gaps:
        now += gap
        if limit.take(1, now) == 0.0:
            taken.append(now)
        assert 0.0 <= limit.warmth <= 1.0
        assert rate / cold - 1e-6 <= limit.height(now) <= rate + 1e-6
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + rate * (taken[last] - taken[first]) + 1e-6


@given(st.floats(20.0, 200.0), COLD, st.floats(2.0, 10.0))
def test_a_greedy_caller_gets_the_area_below_the_line(
    rate: float, cold: float, period: float
) -> None:
    """While it climbs, the mean of the cold and the full rate; afterwards the full one."""
    limit = WarmUpRate(rate, 1.0, settings=WarmUp(period, cold))
    taken = greedy(limit, 0.0, 2 * period)
    climbing = sum(when < period for when in taken)
    area = period * rate * (1 + 1 / cold) / 2
    # Each unit is priced when it is taken, so the climb lags by one spacing.
    assert area - rate / cold * 2 - 3 <= climbing <= area + 2
    assert len(taken) - climbing == pytest.approx(rate * period, abs=4 + cold)


@given(RATES, BURSTS, COLD, PERIODS, st.floats(0.0, 3.0))
def test_a_pause_cools_it_as_fast_as_use_warms_it(
    rate: float, burst: float, cold: float, period: float, pause: float
) -> None:
    """After a period without a call it is as cold as at the start."""
    limit = WarmUpRate(rate, burst, settings=WarmUp(period, cold), warmth=1.0, seen=0.0, due=0.0)
    limit.height(pause * period)
    assert limit.warmth == pytest.approx(max(0.0, 1.0 - pause), abs=1e-9)


@given(RATES, BURSTS, COLD, PERIODS, st.floats(0.05, 1.0), st.floats(0.0, 20.0))
def test_the_wait_that_it_names_suffices(
    rate: float, burst: float, cold: float, period: float, share: float, begin: float
) -> None:
    """Who comes back after `wait` is served, and not a moment sooner."""
    limit = WarmUpRate(rate, burst, settings=WarmUp(period, cold))
    cost = max(1e-3, share * burst)
    while limit.take(cost, begin) == 0.0:
        pass
    wait = limit.wait(cost, begin)
    assert wait > 0.0
    assert limit.take(cost, begin + 0.9 * wait) > 0.0
    assert limit.take(cost, begin + wait) == 0.0


@given(RATES, COLD, PERIODS, st.floats(0.0, 400.0))
def test_a_long_line_is_told_how_long_the_climb_takes(
    rate: float, cold: float, period: float, units: float
) -> None:
    """The wait for more than a burst is the time in which the line is worked off, steadily."""
    limit = WarmUpRate(rate, 1.0, settings=WarmUp(period, cold))
    wait = limit.wait(1 + units, 0.0)
    low, high = rate / cold, rate
    climb = min(wait, period)
    height = low + (high - low) * climb / period
    served = (low + height) / 2 * climb + high * max(0.0, wait - period)
    assert served == pytest.approx(units, rel=1e-6, abs=1e-6)


def test_used_half_of_the_time_it_stays_as_warm_as_it_is() -> None:
    """So the rate comes to rest at twice what is asked for."""
    limit = WarmUpRate(100.0, 1.0, settings=WarmUp(10.0, 4.0), warmth=1.0)
    now = 0.0
    for _ in range(4000):
        assert limit.take(1, now) == 0.0
        now += 1 / 40.0
    assert limit.height(now) == pytest.approx(80.0, rel=0.05)


def test_a_cold_burst_is_smaller() -> None:
    """By the cold factor: the burst above one is worth so many seconds at the full rate."""
    limit = WarmUpRate(10.0, 7.0, settings=WarmUp(10.0, 3.0))
    assert limit.level(0.0) == pytest.approx(3.0)
    assert [limit.take(1, 0.0) == 0.0 for _ in range(4)] == [True, True, True, False]


def test_what_is_given_back_can_be_taken_again() -> None:
    """A permit that was not used is as if it had never been taken."""
    limit = WarmUpRate(1.0, 1.0)
    limit.take(1, 0.0)
    limit.give_back(1)
    assert limit.take(1, 0.0) == 0.0


def test_a_change_of_the_limit_leaves_it_as_warm_as_it_is() -> None:
    """Idle time before the change has cooled it, and is not taken for use."""
    limit = WarmUpRate(10.0, 1.0, settings=WarmUp(10.0), warmth=1.0, seen=0.0, due=0.0)
    limit.change(20.0, 2.0, 5.0)
    assert limit.warmth == pytest.approx(0.5)
    assert limit.height(6.0) == pytest.approx(20.0 * (1 / 3 + 2 / 3 * 0.4))


def test_what_cannot_be_is_refused() -> None:
    """With what was seen."""
    with pytest.raises(ValueError, match="not 0"):
        WarmUp(0)
    with pytest.raises(ValueError, match="not 1"):
        WarmUp(1.0, 1)
    with pytest.raises(ValueError, match="burst of 2"):
        WarmUpRate(1.0, 2.0).take(3, 0.0)
