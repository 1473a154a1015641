"""The driver of the search: runs one load step for each rate that the rule asks for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from backstay.lab.load import LoadOptions, LoadResult, WorkloadSpec

from ._knee_rule import Knee, KneeGoal, KneePlan, StepResult

__all__ = ["find_knee"]

type_of_run = Callable[[LoadOptions, WorkloadSpec], Awaitable[LoadResult]]


async def find_knee(
    options: LoadOptions,
    workload: WorkloadSpec | str,
    *,
    goal: KneeGoal | None = None,
    plan: KneePlan | None = None,
    progress: Callable[[StepResult], None] | None = None,
    before_step: Callable[[float], Awaitable[None]] | None = None,
) -> Knee:
    """Find the knee; rate, duration and warm-up of `options` are replaced step by step."""
    raise NotImplementedError
