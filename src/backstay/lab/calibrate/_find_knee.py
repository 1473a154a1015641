"""The driver of the search: runs one load step for each rate that the rule asks for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol

from backstay._base import now
from backstay.lab.calibrate._knee_rule import Knee, KneeGoal, KneePlan, KneeRule, StepResult
from backstay.lab.load import LoadOptions, LoadResult, WorkloadSpec, run_load

__all__ = ["Measure", "find_knee", "judge_step"]


class Measure(Protocol):
    """What runs one step; `run_load` by default."""

    def __call__(
        self, options: LoadOptions, workload: WorkloadSpec | str, /
    ) -> Awaitable[LoadResult]:
        """Offer the load and return what was found."""
        ...


async def find_knee(
    options: LoadOptions,
    workload: WorkloadSpec | str,
    *,
    goal: KneeGoal | None = None,
    plan: KneePlan | None = None,
    progress: Callable[[StepResult], None] | None = None,
    before_step: Callable[[float], Awaitable[None]] | None = None,
    measure: Measure = run_load,
) -> Knee:
    """Find the highest rate that the target sustains within the goal.

    Args:
        options: target, connections, seed and patience; rate, duration and warm-up are
            replaced step by step, patience is cut to four times the goal (at least 1 s)
            so that a hopeless step ends soon, and each step has a seed of its own so
            that no step repeats another's requests.
        workload: what to request.
        goal: what a rate must meet.
        plan: where to search and for how long; `KneePlan.quick` answers one question.
        progress: called after each step.
        before_step: awaited with the rate before each step, for example to restart the target.
        measure: what runs one step.

    Raises:
        TargetGone: nothing listens at the target.
        UsageError: an option is out of range, or the workload failed.

    Cancelled:
        The step under way is ended and its process is gone; there is no result.
    """
    goal = goal or KneeGoal()
    plan = plan or KneePlan()
    rule = KneeRule(plan, goal)
    patience_s = min(options.timeout_s, max(1.0, 4 * goal.p99_s))
    began_at = now()
    index = 0
    while (rate := rule.next_rate(now() - began_at)) is not None:
        if before_step is not None:
            await before_step(rate)
        step_options = replace(
            options,
            rate=rate,
            duration_s=plan.warmup_s + plan.step_s,
            warmup_s=plan.warmup_s,
            timeout_s=patience_s,
            seed=options.seed + index,
            windows=(),
        )
        step = judge_step(await measure(step_options, workload), goal)
        rule.record(step)
        if progress is not None:
            progress(step)
        index += 1
    return rule.knee()


def judge_step(result: LoadResult, goal: KneeGoal) -> StepResult:
    """Say whether a run met the goal.

    A generator that was late leaves the question open, unless the target missed
    the goal by more than that lateness can explain.
    """
    p99_s = result.overall.latency.p99_s
    share = result.achieved_rps / result.offered_rps if result.offered_rps else 0.0
    reasons: list[str] = []
    if p99_s > goal.p99_s:
        reasons.append(f"p99 {p99_s * 1e3:.0f} ms is above {goal.p99_s * 1e3:.0f} ms")
    if result.overall.success_rate < goal.success_min:
        reasons.append(
            f"success rate {result.overall.success_rate:.2%} is below {goal.success_min:.2%}"
        )
    if share < goal.achieved_min:
        reasons.append(f"only {share:.1%} of the offered requests were answered well in time")
    sustained: bool | None = not reasons
    if not result.valid and p99_s - result.lag.max_s <= goal.p99_s:
        sustained = None
        reasons = list(result.reasons)
    return StepResult(
        rate=result.options.rate,
        sustained=sustained,
        p99_s=p99_s,
        success_rate=result.overall.success_rate,
        achieved_rps=result.achieved_rps,
        reason="; ".join(reasons),
    )
