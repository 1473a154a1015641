"""How the cap follows the loop's lag."""

from __future__ import annotations

import pytest

from backstay.guard.rules.lag_cap import LagCap


def hear(rule: LagCap, *lags: float) -> None:
    for lag in lags:
        rule.hear(lag)


def decided(rule: LagCap, now: float, peak: int, refused: int = 0) -> int:
    assert rule.decide(now, peak, refused)
    return rule.limit


def test_it_doubles_while_it_is_used_until_the_first_cut() -> None:
    """Slow start finds the size of a healthy load in a few steps."""
    rule = LagCap()
    hear(rule, 0.0, 0.001)
    assert decided(rule, 1.0, peak=20) == 64
    hear(rule, 0.0, 0.0)
    assert decided(rule, 2.0, peak=31) == 64  # not half of it was used
    hear(rule, 0.0, 0.0)
    assert decided(rule, 3.0, peak=5, refused=1) == 128  # it was in somebody's way
    hear(rule, 0.04, 0.05)
    assert decided(rule, 4.0, peak=100) == 50  # of the peak, by target / lag
    assert not rule.slow_start
    hear(rule, 0.0, 0.0)
    assert decided(rule, 5.0, peak=50) == 53  # 1.05 * 50 + 1


def test_it_does_not_double_into_a_loop_that_was_late() -> None:
    """One late heartbeat is no reason to cut, and none to let in twice as much either."""
    rule = LagCap()
    hear(rule, 0.05, 0.0)
    assert decided(rule, 1.0, peak=32) == 32
    assert rule.slow_start
    hear(rule, 0.0, 0.0)
    assert decided(rule, 2.0, peak=32) == 64


def test_a_cut_takes_half_at_most_and_leaves_one() -> None:
    """A loop that is seconds late says no more than that it was far too much."""
    rule = LagCap(cap=4.0)
    hear(rule, 9.0, 9.0)
    assert decided(rule, 0.1, peak=4) == 2
    hear(rule, 9.0, 9.0)
    assert decided(rule, 0.2, peak=0) == 1


def test_the_least_lag_counts_and_one_late_heartbeat_is_a_pause() -> None:
    """A collection of garbage or one slow call does not shut the door."""
    rule = LagCap()
    hear(rule, 0.15)
    assert not rule.decide(0.17, 32, 0)
    hear(rule, 0.0)
    assert decided(rule, 0.19, peak=10) == 32
    hear(rule, 0.3, 0.0, 0.0, 0.0)
    assert decided(rule, 0.4, peak=10) == 32


def test_it_moves_once_in_an_interval() -> None:
    """Earlier heartbeats are kept for the decision."""
    rule = LagCap()
    hear(rule, 0.0, 0.0)
    assert rule.decide(1.0, 32, 0)
    hear(rule, 0.03, 0.03, 0.03)
    assert not rule.decide(1.05, 32, 0)
    hear(rule, 0.03)
    assert rule.decide(1.1, 32, 0)
    assert rule.heartbeats == 0


def test_it_is_tight_from_a_late_heartbeat_until_an_interval_without_one() -> None:
    """While it is, what ends within a turn of the loop counts."""
    rule = LagCap()
    hear(rule, 0.019)
    assert not rule.tight
    hear(rule, 0.021)
    assert rule.tight
    rule.decide(0.1, 1, 0)
    assert rule.tight
    hear(rule, 0.0, 0.0)
    rule.decide(0.2, 1, 0)
    assert not rule.tight


@pytest.mark.parametrize("target", [0, -0.1, float("inf"), float("nan")])
def test_a_target_is_a_time(target: float) -> None:
    """A target of nothing would refuse everybody."""
    with pytest.raises(ValueError, match="the target is a time above 0 seconds"):
        LagCap(target)


@pytest.mark.parametrize("start", [0, float("nan"), float("inf")])
def test_a_cap_starts_at_one_or_more(start: float) -> None:
    """And it is finite: an unbounded start has failed on a real server."""
    with pytest.raises(ValueError, match="a cap starts at 1 or more"):
        LagCap(cap=start)
