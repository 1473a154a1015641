"""The limit that goes by the queue it causes."""

from __future__ import annotations

import pytest

from backstay.guard.rules.vegas_limit import VegasLimit


def vegas(limit: int = 100) -> VegasLimit:
    rule = VegasLimit(initial=limit)
    rule.sample(0.010, limit, False, 0.0)  # sets the base
    assert (rule.base, rule.limit) == (0.010, limit)
    return rule


@pytest.mark.parametrize(
    ("rtt", "limit"),
    [
        (0.0101, 112),  # a queue of 1: six steps of log10(100) = 2
        (0.0104, 102),  # of 4: one step
        (0.0110, 100),  # of 10: as it should be
        (0.0120, 98),  # of 17: one step back
    ],
)
def test_vegas_keeps_a_few_waiting(rtt: float, limit: int) -> None:
    """The queue is what the call took longer than the least, by Little's law."""
    rule = vegas()
    rule.sample(rtt, 100, False, 0.0)
    assert rule.limit == limit


def test_vegas_takes_a_step_back_for_a_drop_and_learns_no_time_from_it() -> None:
    """A call that was refused at once was not served in no time."""
    rule = vegas()
    rule.sample(0.0001, 100, True, 0.0)
    assert (rule.base, rule.limit) == (0.010, 98)


def test_vegas_measures_its_base_anew() -> None:
    """Or a dependency that has become slower would look like a queue for ever."""
    rule = vegas(limit=20)
    for _ in range(20 * 30):
        rule.sample(0.030, 20, False, 0.0)
    assert rule.base == 0.030
