"""A budget bounds what retries add, however much fails."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.guard.rules.retry_budget import RetryBudget


def test_a_quiet_dependency_is_retried_by_the_floor() -> None:
    """One a second, so ten in the window of ten."""
    budget = RetryBudget(at_once=100)
    allowed = 0
    for _ in range(50):
        budget.calls += 1
        allowed += budget.try_spend(0.0)
    assert allowed == 15  # 10 of the floor, and a tenth of 50 calls
    assert budget.refused == 35


def test_only_so_many_at_a_time() -> None:
    """When all are under way the next waits for none and is refused."""
    budget = RetryBudget(0.0, at_once=3)
    assert [budget.try_spend(0.0) for _ in range(5)] == [True, True, True, False, False]
    budget.retry_ended(2)
    assert budget.retrying == 1
    assert budget.try_spend(0.0)


@given(
    st.lists(st.tuples(st.floats(0.0, 4.0), st.integers(0, 40)), min_size=1, max_size=60),
    st.floats(0.0, 0.5),
)
def test_in_no_window_more_than_the_share_and_the_floor(
    steps: list[tuple[float, int]], ratio: float
) -> None:
    """Calls of up to two windows ago count in part, and nothing else does."""
    budget = RetryBudget(ratio, per_second=0.5, at_once=10_000, span=10.0)
    now = 0.0
    calls: list[tuple[float, int]] = []
    spent: list[float] = []
    for gap, count in steps:
        now += gap
        budget.calls += count
        calls.append((now, count))
        for _ in range(count):
            if budget.try_spend(now):
                spent.append(now)
        lately = sum(1 for at in spent if at > now - 10.0)
        base = sum(n for at, n in calls if at > now - 30.0)
        assert lately <= 2 * (ratio * base + 0.5 * 10.0) + 1


def test_layers_of_retries_add_a_share_each_and_do_not_multiply() -> None:
    """Three layers of three attempts against a dead dependency: 27 calls for one become 1.1 ** 3."""
    budgets = [RetryBudget(0.1, per_second=0.0, at_once=10_000) for _ in range(3)]
    served = 0

    def call(layer: int, now: float) -> bool:
        nonlocal served
        if layer == 3:
            served += 1
            return False
        budgets[layer].calls += 1
        for attempt in range(3):
            if attempt and not budgets[layer].try_spend(now):
                return False
            if call(layer + 1, now):
                return True
        return False

    for number in range(3000):
        call(0, number * 0.01)
    assert served / 3000 < 1.1**3 + 0.05


def test_after_a_long_pause_old_calls_are_forgotten() -> None:
    """A million calls last week pay for no retries today."""
    budget = RetryBudget(0.1, per_second=0.0, at_once=100, span=10.0)
    budget.calls += 1_000_000
    assert budget.left(0.0) == pytest.approx(100_000)
    budget.left(10.0)
    assert budget.left(1_000_000.0) == pytest.approx(0.0, abs=2.0)


@pytest.mark.parametrize("bad", [{"ratio": -1}, {"per_second": -1}, {"at_once": -1}, {"span": 0}])
def test_nonsense_is_refused(bad: dict[str, float]) -> None:
    """With the value seen."""
    with pytest.raises(ValueError, match="not"):
        RetryBudget(**bad)  # type: ignore[arg-type]
