"""Which rate to try next, as arithmetic only.

Why pure: the same object is tested against model systems with a known knee and
noise, without a single request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Knee", "KneeGoal", "KneePlan", "StepResult"]


@dataclass(frozen=True, slots=True)
class KneeGoal:
    """What a rate must meet to count as sustained.

    Attributes:
        p99_s: highest 99th percentile of latency, seconds.
        success_min: lowest success rate, 0 to 1.
        achieved_min: lowest share of the offered requests that is answered in time, 0 to 1.
    """

    p99_s: float = 0.5
    success_min: float = 0.99
    achieved_min: float = 0.97


@dataclass(frozen=True, slots=True)
class KneePlan:
    """How to search: where to start and stop, and how much time to spend.

    Attributes:
        start_rate: first rate to try, requests per second.
        max_rate: highest rate to try; when it is sustained the knee is censored ("at least").
        min_rate: below this the search gives up.
        step_s: judged seconds per step.
        warmup_s: seconds offered before them.
        max_steps: steps at most.
        budget_s: no step is begun that would end later than this many seconds after the start.
        precision: stop when the bracket is this tight, relative.
    """

    start_rate: float = 50.0
    max_rate: float = 5_000.0
    min_rate: float = 1.0
    step_s: float = 4.0
    warmup_s: float = 1.0
    max_steps: int = 14
    budget_s: float = 120.0
    precision: float = 0.05

    @classmethod
    def quick(cls, rate: float, *, share: float = 0.6, budget_s: float = 25.0) -> KneePlan:
        """Answer "is `rate` at most `share` of the knee?" in one step when it is, else search downwards."""
        top = rate / share
        return cls(start_rate=top, max_rate=top, max_steps=5, budget_s=budget_s, precision=0.1)


@dataclass(frozen=True, slots=True)
class StepResult:
    """One rate that was tried.

    Attributes:
        rate: offered requests per second.
        sustained: it met the goal; None when the generator itself was too late to tell.
        p99_s: measured, seconds.
        success_rate: measured, 0 to 1.
        achieved_rps: measured.
        reason: why it was not sustained, empty when it was.
    """

    rate: float
    sustained: bool | None
    p99_s: float
    success_rate: float
    achieved_rps: float
    reason: str


@dataclass(frozen=True, slots=True)
class Knee:
    """The highest rate that the system sustains within its goal.

    Attributes:
        rate: requests per second; 0.0 when not even the lowest rate tried was sustained.
        censored: True when the highest rate asked for was sustained: the knee is at least `rate`.
        limited_by: what ended the search from above: the "target", the "generator" (this
            machine cannot offer more), the "plan" (censored), or "nothing" found at all.
        steps: what was tried, in order.
    """

    rate: float
    censored: bool
    limited_by: Literal["target", "generator", "plan", "nothing"]
    steps: tuple[StepResult, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the knee and its steps; p99 in milliseconds."""
        raise NotImplementedError
