"""A quantile in one number: near enough to the real one."""

from __future__ import annotations

import random

import pytest

from backstay.guard.rules.running_quantile import RunningQuantile


@pytest.mark.parametrize("q", [0.5, 0.9, 0.95])
def test_it_comes_near_the_quantile_and_follows_it(q: float) -> None:
    """Within a third after a few hundred values, and again after the world has changed."""
    dice = random.Random(7)
    running = RunningQuantile(q)
    for scale in (0.01, 1.0, 0.1):
        values = [dice.lognormvariate(0, 0.5) * scale for _ in range(1500)]
        estimates = []
        for value in values:
            running.add(value)
            assert running.seconds is not None
            estimates.append(running.seconds)
        real = sorted(values)[int(q * len(values))]
        typical = sorted(estimates[500:])[500]
        assert real / 1.35 < typical < real * 1.35


def test_the_first_value_is_the_estimate_and_equal_ones_keep_it() -> None:
    """It never goes beyond what was seen."""
    running = RunningQuantile()
    assert running.seconds is None
    for _ in range(50):
        running.add(0.2)
    assert running.seconds == 0.2
    assert running.seen == 50
    running = RunningQuantile()
    running.add(0.0)
    running.add(3.0)
    assert running.seconds == 3.0


@pytest.mark.parametrize("q", [0, 1, -1, float("nan")])
def test_there_is_no_such_quantile(q: float) -> None:
    """Only between 0 and 1."""
    with pytest.raises(ValueError, match="quantile"):
        RunningQuantile(q)
