"""The limit that goes by whether calls take longer than they used to."""

from __future__ import annotations

import pytest

from backstay.guard.rules.gradient_limit import GradientLimit


def window(rule: GradientLimit, at: float, rtt: float, busy: int = 100, dropped: int = 0) -> None:
    """Feed a second's worth of samples: ten, which is just enough."""
    for n in range(10):
        rule.sample(rtt, busy, n < dropped, at if n < 9 else at + 1.0)


def test_gradient_grows_while_calls_take_as_long_as_ever() -> None:
    """By a fifth of four a second."""
    rule = GradientLimit(initial=50)
    window(rule, 0.0, 0.1)
    assert rule.estimate == pytest.approx(50.8)
    assert rule.long == pytest.approx(0.1)


def test_gradient_falls_when_calls_take_longer() -> None:
    """At most to a half, smoothed by a fifth."""
    rule = GradientLimit(initial=50)
    for second in range(12):
        window(rule, second * 2.0, 0.1)
    before = rule.estimate
    window(rule, 30.0, 1.0)
    assert rule.estimate == pytest.approx(0.8 * before + 0.2 * (0.5 * before + 4))


def test_gradient_forgets_a_bad_time_quickly() -> None:
    """A long time above twice the short one is pulled down by a twentieth a window."""
    rule = GradientLimit(initial=50)
    for second in range(12):
        window(rule, second * 2.0, 1.0)
    long = rule.long
    window(rule, 30.0, 0.1)
    assert rule.long < 0.96 * long


def test_gradient_takes_a_tenth_off_for_drops() -> None:
    """Also when all were refused so quickly that there is no time to go by."""
    rule = GradientLimit(initial=50)
    window(rule, 0.0, 0.1, dropped=1)
    assert rule.estimate == pytest.approx(45)
    for _ in range(10):
        rule.sample(0.00001, 50, True, 10.0)
    assert rule.estimate == pytest.approx(40.5)


def test_gradient_waits_for_enough_samples() -> None:
    """Nine calls in a second say nothing; cached answers say nothing either."""
    rule = GradientLimit(initial=50)
    for n in range(9):
        rule.sample(0.1, 50, False, n * 1.0)
    assert rule.estimate == 50.0
    quick = GradientLimit(initial=50)
    window(quick, 0.0, 0.00005)
    assert (quick.estimate, quick.long) == (50.0, 0.0)
