"""The limit that only drops can lower."""

from __future__ import annotations

import pytest

from backstay.guard.rules.aimd_limit import AimdLimit


def test_it_adds_one_a_call_until_the_first_drop_and_one_a_round_from_then_on() -> None:
    """A tenth off for a drop."""
    rule = AimdLimit(initial=20)
    rule.sample(1.0, 10, False, 0.0)
    assert rule.limit == 21
    rule.sample(1.0, 10, True, 5.0)
    assert rule.estimate == pytest.approx(18.9)
    for _ in range(19):
        rule.sample(1.0, 18, False, 7.0)
    assert rule.estimate == pytest.approx(19.9, abs=0.1)


def test_a_drop_counts_once_for_all_that_were_in_flight_together() -> None:
    """Thirty calls that run into their time limit at once are one piece of news."""
    rule = AimdLimit(initial=100)
    for n in range(30):
        rule.sample(1.0, 100, True, 5.0 + n * 0.01)
    assert rule.limit == 90
    rule.sample(1.0, 100, True, 6.0)
    assert rule.limit == 81


def test_slow_calls_may_count_as_dropped() -> None:
    """For calls that have no time limit of their own."""
    rule = AimdLimit(initial=20, slow=0.5)
    rule.sample(0.6, 20, False, 0.0)
    assert rule.limit == 18


@pytest.mark.parametrize("options", [{"backoff": 1.0}, {"backoff": 0.4}, {"slow": 0.0}])
def test_nonsense_is_refused(options: dict[str, float]) -> None:
    """A backoff of 1 would never give way."""
    with pytest.raises(ValueError, match="not"):
        AimdLimit(**options)  # type: ignore[arg-type]
