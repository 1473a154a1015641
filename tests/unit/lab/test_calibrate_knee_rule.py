"""The search rule against model systems with a known knee."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.errors import UsageError
from backstay.lab.calibrate import Knee, KneeGoal, KneePlan, KneeRule, StepResult


def search(
    plan: KneePlan, outcome: Callable[[float, int], bool | None], *, p99_s: float = 0.4
) -> Knee:
    """Run the rule against a model; every step takes as long as the plan says."""
    rule = KneeRule(plan, KneeGoal())
    elapsed_s = 0.0
    count = 0
    while (rate := rule.next_rate(elapsed_s)) is not None:
        sustained = outcome(rate, count)
        rule.record(StepResult(rate, sustained, p99_s, 1.0, rate, "" if sustained else "slow"))
        elapsed_s += plan.step_s + plan.warmup_s
        count += 1
        assert count <= plan.max_steps
    assert elapsed_s <= max(plan.budget_s, plan.step_s + plan.warmup_s)
    return rule.knee()


@given(knee=st.floats(6.0, 4_900.0), start=st.floats(5.0, 5_000.0))
def test_the_knee_is_found_within_the_precision(knee: float, start: float) -> None:
    """Wherever the knee and the start are, the answer brackets the truth tightly."""
    plan = KneePlan(start_rate=start, max_steps=100, budget_s=1e9)
    found = search(plan, lambda rate, _: rate <= knee)
    assert found.rate <= knee
    assert found.upper is not None
    assert knee < found.upper <= found.rate * 1.05 + 1e-9
    assert found.limited_by == "target"
    assert not found.censored


@given(knee=st.floats(20.0, 4_900.0), p99_s=st.sampled_from([0.01, 0.4]))
def test_the_default_plan_is_enough(knee: float, p99_s: float) -> None:
    """Fourteen steps reach any knee from 20 to 4,900/s to within a fifth."""
    found = search(KneePlan(), lambda rate, _: rate <= knee, p99_s=p99_s)
    assert found.rate <= knee <= found.rate * 1.2


@given(
    knee=st.floats(50.0, 3_000.0),
    noise=st.lists(st.floats(0.9, 1.1), min_size=40, max_size=40),
)
def test_noise_moves_the_answer_no_further_than_itself(knee: float, noise: list[float]) -> None:
    """When each step sees a knee of its own, ten percent around, the answer is within them."""
    plan = KneePlan(max_steps=40, budget_s=1e9)
    found = search(plan, lambda rate, step: rate <= knee * noise[step])
    assert knee * 0.9 / 1.05 <= found.rate <= knee * 1.1


@given(knee=st.floats(300.0, 4_000.0), stutter=st.integers(0, 3))
def test_one_stutter_while_doubling_does_no_harm(knee: float, stutter: int) -> None:
    """The failure that ends the doubling is repeated, so a hiccup does not halve the answer."""
    plan = KneePlan(max_steps=40, budget_s=1e9)
    found = search(plan, lambda rate, step: rate <= knee and step != stutter)
    assert found.rate <= knee <= found.rate * 1.06


def test_a_system_that_sustains_everything_is_censored() -> None:
    """The answer then is "at least"."""
    found = search(KneePlan(max_rate=400.0), lambda rate, _: True)
    assert (found.rate, found.upper, found.censored, found.limited_by) == (400, None, True, "plan")
    assert [step.rate for step in found.steps] == [50, 100, 200, 400]
    assert "at least 400.0/s" in found.to_text()


def test_a_system_far_from_its_goal_is_approached_in_bigger_steps() -> None:
    """A p99 of an eighth of the goal lets the rate quadruple."""
    found = search(KneePlan(max_rate=3_200.0), lambda rate, _: True, p99_s=0.01)
    assert [step.rate for step in found.steps] == [50, 200, 800, 3200]


def test_a_system_that_sustains_nothing_has_no_knee() -> None:
    """The search goes down to the least rate of the plan and then says so."""
    found = search(KneePlan(confirm=False), lambda rate, _: False)
    assert [step.rate for step in found.steps] == [50, 25, 12.5, 6.25, 5]
    assert (found.rate, found.censored) == (0.0, False)
    assert "no knee" in found.to_text()


def test_a_late_generator_is_not_blamed_on_the_target() -> None:
    """When steps fail since the generator was late, the result says who set the limit."""
    found = search(
        KneePlan(max_steps=30, budget_s=1e9), lambda rate, _: None if rate > 900 else True
    )
    assert 850 < found.rate <= 900
    assert found.limited_by == "generator"
    assert "the generator, not the target" in found.to_text()


def test_the_quick_question_takes_one_step_when_the_answer_is_yes() -> None:
    """500/s is at most 60 % of the knee when 833/s is sustained."""
    found = search(KneePlan.quick(500.0), lambda rate, _: True)
    assert [round(step.rate) for step in found.steps] == [833]
    assert found.censored


@given(knee=st.floats(105.0, 830.0))
def test_the_quick_question_searches_downwards_otherwise(knee: float) -> None:
    """Within five steps and 25 s there is a rate below the knee, and not far below."""
    found = search(KneePlan.quick(500.0), lambda rate, _: rate <= knee)
    assert len(found.steps) <= 5
    assert found.rate <= knee <= found.rate * 1.45


def test_the_budget_ends_the_search() -> None:
    """No step is begun that would end too late, but one is always taken."""
    assert len(search(KneePlan(budget_s=11.0), lambda rate, _: True).steps) == 2
    assert len(search(KneePlan(budget_s=1.0), lambda rate, _: True).steps) == 1


def test_a_knee_is_published_as_json_and_text() -> None:
    """Steps, bracket and verdict are in both."""
    found = search(KneePlan(), lambda rate, _: rate <= 300)
    document = json.loads(json.dumps(found.to_json()))
    assert document["rate"] == found.rate
    assert document["steps"][0] == {
        "rate": 50.0,
        "sustained": True,
        "p99_ms": 400.0,
        "success_rate": 1.0,
        "achieved_rps": 50.0,
        "reason": "",
    }
    assert "    50.0/s  sustained (p99 400.0 ms)" in found.to_text()
    assert "   400.0/s  slow" in found.to_text()


@pytest.mark.parametrize(
    "changes",
    [
        {"start_rate": 0.0},
        {"min_rate": 100.0},
        {"max_rate": 10.0},
        {"max_rate": float("inf")},
        {"step_s": 0.0},
        {"warmup_s": -1.0},
        {"max_steps": 0},
        {"precision": 0.0},
        {"start_rate": float("nan")},
    ],
)
def test_an_impossible_plan_is_refused(changes: dict[str, float]) -> None:
    """A plan that could take no step is named before a load is offered."""
    with pytest.raises(UsageError, match="expected"):
        KneePlan(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [{"p99_s": 0.0}, {"p99_s": float("nan")}, {"success_min": 0.0}, {"achieved_min": 1.1}],
)
def test_an_impossible_goal_is_refused(changes: dict[str, float]) -> None:
    """A goal that is always or never met is a slip."""
    with pytest.raises(UsageError, match="expected"):
        KneeGoal(**changes)
