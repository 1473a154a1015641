"""The arithmetic of the shutdown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.lifecycle import Leftover, PhaseRecord, ShutdownBudget, ShutdownRecord

seconds = st.floats(0, 1e6, allow_nan=False)


def test_the_phases_share_one_budget() -> None:
    """What one phase takes, the next ones no longer have."""
    budget = ShutdownBudget(lame_duck=2.0, grace=12.0)
    assert budget.hooks_reserve == 2.0
    assert budget.lame_duck_left(100.0, 100.5) == 1.5
    assert budget.drain_left(100.0, 102.0) == 8.0
    assert budget.left(100.0, 102.0) == 10.0
    assert budget.left(100.0, 200.0) == budget.drain_left(100.0, 200.0) == 0.0


def test_a_long_grace_keeps_five_seconds_for_hooks() -> None:
    """Hooks need time in proportion only up to a point."""
    assert ShutdownBudget(lame_duck=0, grace=300).hooks_reserve == 5.0


@pytest.mark.parametrize(
    ("lame_duck", "grace", "words"),
    [
        (-1.0, 10.0, "give 0 or more"),
        (float("nan"), 10.0, "give 0 or more"),
        (0.0, 0.0, "give more than 0"),
        (0.0, float("inf"), "give more than 0"),
        (5.0, 5.0, "leaves nothing"),
    ],
)
def test_impossible_budgets_are_refused(lame_duck: float, grace: float, words: str) -> None:
    """A budget without time to drain would lose requests every time."""
    with pytest.raises(ValueError, match=words):
        ShutdownBudget(lame_duck, grace)


@given(seconds, seconds, seconds, seconds)
def test_no_phase_outlives_the_grace(
    lame_duck: float, more: float, since: float, spent: float
) -> None:
    """At any moment: lame duck <= drain <= all that is left, and none is negative."""
    budget = ShutdownBudget(lame_duck, lame_duck + more + 1.0)
    now = since + spent
    drain, left = budget.drain_left(since, now), budget.left(since, now)
    assert 0.0 <= drain <= left <= budget.grace + 1e-6
    assert 0.0 <= budget.lame_duck_left(since, now) <= left + 1e-6


def test_a_stop_within_its_budget_is_in_order() -> None:
    """Neither leftovers nor a request that was cut make it a failure; a hook that fails does."""
    one = Leftover(1, "t", "f", "app", "a.py:1", "sleep at a.py:2")
    record = ShutdownRecord("SIGTERM", [PhaseRecord("drain", 1.0, ok=True)], leftovers=[one])
    assert record.exit_code == 0
    record.lost = [one]
    assert record.exit_code == 0
    record.failed_hooks = 1
    assert record.exit_code == 1
