"""When a line is one that does not empty, and who has waited too long in it."""

from __future__ import annotations

from math import inf

import pytest

from backstay.guard.rules.queue_delay import QueueDelay


def test_a_burst_may_take_an_interval() -> None:
    """In a line that was empty just now, nobody has waited too long before the interval is over."""
    rule = QueueDelay(target=0.02, interval=0.1)
    rule.join(5.0)
    assert rule.due(5.0) == 5.1
    rule.join(5.05)
    assert rule.due(5.05) == 5.1
    assert rule.due(5.09) == pytest.approx(5.11)


def test_in_a_line_that_does_not_empty_nobody_waits_longer_than_the_target() -> None:
    """It has been there for an interval, so whoever comes now may wait for the target."""
    rule = QueueDelay(target=0.02, interval=0.1)
    rule.join(5.0)
    assert rule.due(5.3) == pytest.approx(5.32)


def test_an_empty_line_starts_anew() -> None:
    """What counts is when the line was last empty."""
    rule = QueueDelay()
    rule.join(5.0)
    rule.empty()
    assert rule.since is None
    rule.join(6.0)
    assert rule.due(6.0) == 6.1


def test_due_of_a_line_that_nobody_has_joined_yet() -> None:
    """It would begin with the one that asks."""
    assert QueueDelay().due(1.0) == 1.1


def test_the_newest_goes_first_from_a_drop_until_an_interval_without_one() -> None:
    """A line that is never empty but moves quickly is first come, first served."""
    rule = QueueDelay(target=0.02, interval=0.1)
    rule.join(5.0)
    assert not rule.overloaded(9.0)
    rule.drop(9.0)
    assert rule.overloaded(9.0)
    assert rule.overloaded(9.1)
    assert not rule.overloaded(9.2)
    rule.drop(9.3)
    rule.empty()
    assert not rule.overloaded(9.3)


def test_the_longest_wait_holds_whatever_the_line_does() -> None:
    """It is a limit of its own, with and without a target."""
    assert QueueDelay(longest=0.05).due(1.0) == 1.05
    rule = QueueDelay(target=inf, longest=2.0)
    rule.join(1.0)
    assert rule.due(1.0) == 3.0
    rule.drop(3.0)
    assert not rule.overloaded(3.0)  # a plain line with a limit on waits
    assert QueueDelay(target=inf).due(1.0) == inf


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ({"target": 0}, "target is a time above 0 seconds, not 0"),
        ({"interval": -1.0}, "interval is a time above 0"),
        ({"longest": float("nan")}, "longest is a time above 0"),
        ({"target": 0.2, "interval": 0.1}, "0.2 s is above the interval of 0.1 s"),
    ],
)
def test_times_that_cannot_be_meant_are_refused(times: dict[str, float], said: str) -> None:
    """The message names the number."""
    with pytest.raises(ValueError, match=said):
        QueueDelay(**times)
