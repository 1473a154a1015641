"""The schedule of a run: which law, which seed, which fingerprint."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from backstay.lab.load import plan_arrivals


def test_constant_arrivals_are_evenly_spaced_from_half_a_gap() -> None:
    """A metronome of 4/s beats four times a second, never at the very ends."""
    schedule = plan_arrivals(4, 2, seed=1, arrivals="constant")
    assert list(schedule.starts) == [0.125, 0.375, 0.625, 0.875, 1.125, 1.375, 1.625, 1.875]


def test_constant_arrivals_stay_inside_the_run_when_the_rate_is_crooked() -> None:
    """No arrival falls on or behind the end of the run."""
    for rate in (0.3, 0.5, 0.51, 3.3, 7.7, 997.1):
        starts = plan_arrivals(rate, 3.0, seed=1, arrivals="constant").starts
        assert all(0 <= start < 3.0 for start in starts)
        assert abs(len(starts) - rate * 3) <= 1


def test_equal_seeds_give_equal_schedules_and_fingerprints() -> None:
    """Both sides of a comparison are offered the same instants."""
    one = plan_arrivals(200, 5, seed=7, arrivals="poisson")
    two = plan_arrivals(200, 5, seed=7, arrivals="poisson")
    assert one.starts == two.starts
    assert one.fingerprint == two.fingerprint


def test_any_other_number_gives_another_fingerprint() -> None:
    """Seed, rate, length and law all show in the fingerprint."""
    schedules = [
        plan_arrivals(200, 5, seed=7, arrivals="poisson"),
        plan_arrivals(200, 5, seed=8, arrivals="poisson"),
        plan_arrivals(201, 5, seed=7, arrivals="poisson"),
        plan_arrivals(200, 6, seed=7, arrivals="poisson"),
        plan_arrivals(200, 5, seed=7, arrivals="constant"),
    ]
    assert len({schedule.fingerprint for schedule in schedules}) == 5


def test_the_schedule_of_a_seed_is_the_same_on_every_machine_and_python() -> None:
    """A published result can be repeated elsewhere: the fingerprint is pinned."""
    assert plan_arrivals(500, 10, seed=1, arrivals="poisson").fingerprint == "c214cfda2c322922"
    assert plan_arrivals(500, 10, seed=1, arrivals="constant").fingerprint == "92127b1c9cf7895b"


def test_poisson_gaps_are_exponential() -> None:
    """Mean, spread and the share of long gaps are those of the exponential law."""
    starts = plan_arrivals(1000, 100, seed=3, arrivals="poisson").starts
    gaps = [after - before for before, after in pairwise(starts)]
    mean = sum(gaps) / len(gaps)
    deviation = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
    assert mean == pytest.approx(0.001, rel=0.02)
    assert deviation == pytest.approx(0.001, rel=0.02)
    assert sum(gap > 0.003 for gap in gaps) / len(gaps) == pytest.approx(math.exp(-3), rel=0.1)
    assert list(starts) == sorted(starts)


def test_a_tiny_load_may_have_no_arrival() -> None:
    """A schedule can be empty and still has a fingerprint."""
    schedule = plan_arrivals(0.001, 1, seed=1, arrivals="poisson")
    assert not schedule.starts
    assert schedule.fingerprint
