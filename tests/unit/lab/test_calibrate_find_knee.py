"""The driver of the search: what it asks of each step, and how it judges one."""

from __future__ import annotations

from dataclasses import replace

from load_results import group, result

from backstay.lab.calibrate import KneeGoal, KneePlan, StepResult, find_knee, judge_step
from backstay.lab.load import LoadOptions, LoadResult, WorkloadSpec

OPTIONS = LoadOptions("http://127.0.0.1:8000", rate=1.0, duration_s=60.0, warmup_s=5.0, seed=10)


async def test_each_step_has_its_rate_length_patience_and_seed() -> None:
    """Steps differ in rate and seed alone; patience is cut so that hopeless ones end soon."""
    asked: list[LoadOptions] = []
    restarted: list[float] = []
    seen: list[StepResult] = []

    async def measure(options: LoadOptions, workload: WorkloadSpec | str) -> LoadResult:
        asked.append(options)
        latency_s = 0.1 if options.rate <= 300 else 3.0
        return replace(
            result(rate=options.rate, overall=group(round(options.rate * 10), latency_s=latency_s)),
            options=options,
        )

    async def restart(rate: float) -> None:
        restarted.append(rate)

    knee = await find_knee(
        OPTIONS,
        "shop.workload:Checkout",
        plan=KneePlan(max_steps=8),
        progress=seen.append,
        before_step=restart,
        measure=measure,
    )
    assert 270 < knee.rate <= 300
    assert restarted == [step.rate for step in knee.steps] == [options.rate for options in asked]
    assert tuple(seen) == knee.steps
    assert {(o.duration_s, o.warmup_s, o.timeout_s) for o in asked} == {(5.0, 1.0, 2.0)}
    assert [o.seed for o in asked] == list(range(10, 10 + len(asked)))


def test_a_step_that_meets_the_goal_is_sustained() -> None:
    """Good figures and a punctual generator: sustained, without a reason."""
    step = judge_step(result(), KneeGoal())
    assert step.sustained is True
    assert step.reason == ""


def test_each_way_to_miss_the_goal_is_named() -> None:
    """Latency, failures and throughput each have a sentence with figures."""
    run = result(overall=group(1000, failed=20, latency_s=0.8), achieved_rps=90.0)
    step = judge_step(run, KneeGoal())
    assert step.sustained is False
    assert "p99 800 ms is above 500 ms" in step.reason
    assert "success rate 98.00% is below 99.00%" in step.reason
    assert "only 90.0% of the offered requests" in step.reason


def test_a_late_generator_leaves_the_question_open() -> None:
    """Figures that the generator's own lateness may explain say nothing about the target."""
    run = result(overall=group(1000, latency_s=0.52), lag_s=0.05, reasons=("late",))
    assert judge_step(run, KneeGoal()).sustained is None
    assert judge_step(run, KneeGoal()).reason == "late"


def test_a_target_far_beyond_the_goal_is_to_blame_even_then() -> None:
    """No lag of 50 ms explains a p99 of 3 s."""
    run = result(overall=group(1000, latency_s=3.0), lag_s=0.05, reasons=("late",))
    assert judge_step(run, KneeGoal()).sustained is False


def test_a_run_without_arrivals_is_not_sustained() -> None:
    """Nothing offered, nothing shown."""
    assert (
        judge_step(result(overall=group(0), reasons=("no arrival",)), KneeGoal()).sustained is None
    )
