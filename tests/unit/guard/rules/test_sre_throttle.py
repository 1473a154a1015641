"""The throttle's arithmetic: how much of the load is sent on."""

from __future__ import annotations

import random

import pytest

from backstay.guard.rules.sre_throttle import SreThrottle


def drive(rule: SreThrottle, *, good: float, calls: int = 4000, rate: float = 100.0) -> float:
    """Call a dependency that answers a share of the calls; return the share sent in the second half."""
    dice = random.Random(1)
    sent = 0
    for number in range(calls):
        now = number / rate
        if dice.random() < rule.ask(now):
            rule.refused(now)
            continue
        rule.in_flight += 1
        sent += number >= calls / 2
        if dice.random() < good:
            rule.accepted(now)
        else:
            rule.failed(now)
    return sent / (calls / 2)


def test_a_healthy_dependency_gets_everything() -> None:
    """Up to one failure in three, with k = 1.5."""
    assert drive(SreThrottle(), good=1.0) == 1.0
    assert drive(SreThrottle(), good=0.7) > 0.99


def test_a_dead_dependency_gets_a_trickle() -> None:
    """Enough to notice when it is back."""
    assert 0.02 < drive(SreThrottle(), good=0.0) < 0.1


def test_what_hangs_counts_while_it_hangs() -> None:
    """Nothing has failed yet, and still the calls are held back."""
    rule = SreThrottle(minimum=10)
    for _ in range(40):
        rule.in_flight += 1
    rule.ask(0.0)  # the one that passes in any case
    assert rule.ask(0.1) > 0.5


def test_one_call_a_second_passes_whatever_happens() -> None:
    """Even with all dice against it."""
    rule = SreThrottle(minimum=0)
    for _ in range(100):
        rule.in_flight += 1
        rule.failed(0.0)
    passed = [now for now in (0.0, 0.5, 0.9, 1.0, 1.5, 2.1) if rule.ask(now) == 0.0]
    assert passed == [0.0, 1.0, 2.1]


def test_it_recovers_when_the_window_has_passed() -> None:
    """No state remains."""
    rule = SreThrottle(minimum=0, span=10.0)
    for _ in range(100):
        rule.in_flight += 1
        rule.failed(0.0)
    assert rule.probability(1.0) == pytest.approx(0.95)
    assert rule.probability(11.0) == 0.0
    assert rule.counts(11.0) == (0, 0)


def test_clear_forgets_the_window_and_not_what_is_in_flight() -> None:
    """Calls that are under way will report."""
    rule = SreThrottle()
    rule.in_flight += 2
    rule.accepted(0.0)
    rule.clear()
    assert rule.counts(0.0) == (1, 0)


@pytest.mark.parametrize(
    "bad", [{"k": 1}, {"most": 1}, {"most": -0.1}, {"minimum": -1}, {"every": 0}, {"span": 0}]
)
def test_nonsense_is_refused(bad: dict[str, float]) -> None:
    """With the value seen."""
    with pytest.raises(ValueError, match="not"):
        SreThrottle(**bad)  # type: ignore[arg-type]
