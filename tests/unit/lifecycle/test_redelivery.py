"""What becomes of a failed message, asked without a broker."""

from __future__ import annotations

import pytest

from backstay.errors import LimitError
from backstay.lifecycle import Redelivery


def test_waits_double_from_first_to_most_and_are_half_chance() -> None:
    """1, 2, 4, 8, 8 s at most, and never less than half of that."""
    rule = Redelivery(max_attempts=9, first=1, most=8)
    longest = [rule.failed(attempt, OSError(), 1.0).delay for attempt in range(1, 6)]
    shortest = [rule.failed(attempt, OSError(), 0.0).delay for attempt in range(1, 6)]
    assert longest == [1, 2, 4, 8, 8]
    assert shortest == [0.5, 1, 2, 4, 4]
    assert Redelivery(first=0).failed(1, OSError(), 0.5).delay == 0


def test_the_last_attempt_makes_a_dead_letter_that_says_why() -> None:
    """The reason has the number of the attempt and the error."""
    rule = Redelivery(max_attempts=3)
    assert rule.failed(2, OSError("no"), 0.5).action == "retry"
    verdict = rule.failed(3, OSError("no"), 0.5)
    assert (verdict.action, verdict.reason) == ("dead", "attempt 3 of 3: OSError: no")


def test_poison_is_dead_at_once() -> None:
    """Another try would not help; one of a group is enough."""
    rule = Redelivery(poison=(ValueError,))
    assert rule.failed(1, ValueError("bad"), 0.5).action == "dead"
    group = ExceptionGroup("two", [OSError("a"), ExceptionGroup("one", [ValueError("bad")])])
    assert rule.failed(1, group, 0.5).action == "dead"
    assert rule.failed(1, OSError(), 0.5).action == "retry"


def test_a_rejection_is_not_the_messages_fault() -> None:
    """It is held for as long as the guard says, at any attempt; with an error beside it is not."""
    rule = Redelivery(max_attempts=2, first=1)
    no = LimitError("no", policy="p", retry_after=7.0)
    assert rule.failed(99, no, 0.0).action == "hold"
    assert rule.failed(1, no, 0.0).delay == 7.0
    assert rule.failed(1, LimitError("no", policy="p"), 0.0).delay == 0.5
    assert Redelivery(first=0).failed(1, LimitError("no", policy="p"), 0.0).delay == 0.05
    assert rule.failed(1, ExceptionGroup("g", [no, no]), 0.0).action == "hold"
    assert rule.failed(1, ExceptionGroup("g", [no, OSError()]), 0.0).action == "retry"


def test_a_message_that_was_delivered_too_often_is_not_handled() -> None:
    """Twice the attempts, or as said: perhaps it kills whoever handles it."""
    assert Redelivery(max_attempts=2).arrived(4).action == "handle"
    verdict = Redelivery(max_attempts=2).arrived(5)
    assert verdict.action == "dead"
    assert "4 deliveries" in verdict.reason
    assert Redelivery(max_attempts=2, max_deliveries=2).arrived(3).action == "dead"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_attempts": 0}, "max_attempts"),
        ({"first": -1}, "first"),
        ({"first": 2, "most": 1}, "first"),
        ({"most": float("inf")}, "most"),
        ({"factor": 0.5}, "factor"),
        ({"max_attempts": 5, "max_deliveries": 4}, "max_deliveries"),
    ],
)
def test_numbers_out_of_range_are_refused(wrong: dict[str, float], message: str) -> None:
    """The message names the number."""
    with pytest.raises(ValueError, match=message):
        Redelivery(**wrong)  # type: ignore[arg-type]
