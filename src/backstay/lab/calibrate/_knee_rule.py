"""Which rate to try next, as arithmetic only.

Why pure: the same object is tested against model systems with a known knee and
noise, without a single request.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite, sqrt
from typing import Any, Literal

from backstay.errors import UsageError

__all__ = ["Knee", "KneeGoal", "KneePlan", "KneeRule", "StepResult"]


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

    def __post_init__(self) -> None:
        """Refuse a goal that cannot be missed, or never met."""
        if not (isfinite(self.p99_s) and self.p99_s > 0):
            raise UsageError(f"p99 goal is {self.p99_s!r} s; expected a number above 0")
        for name, share in (("success", self.success_min), ("achieved", self.achieved_min)):
            if not 0 < share <= 1:
                raise UsageError(
                    f"least {name} rate is {share!r}; expected a share above 0 and at most 1"
                )


@dataclass(frozen=True, slots=True)
class KneePlan:
    """How to search: where to start and stop, and how much time to spend.

    Attributes:
        start_rate: first rate to try, requests per second.
        max_rate: highest rate to try; when it is sustained the knee is censored ("at least").
        min_rate: lowest rate to try; when it fails there is no knee.
        step_s: judged seconds per step.
        warmup_s: seconds offered before them.
        max_steps: steps at most.
        budget_s: no step is begun that would end later than this many seconds after the start.
        precision: stop when the bracket is this tight, relative.
        confirm: repeat the step that ends the doubling, since all later steps stay below it.
    """

    start_rate: float = 50.0
    max_rate: float = 5_000.0
    min_rate: float = 5.0
    step_s: float = 4.0
    warmup_s: float = 1.0
    max_steps: int = 14
    budget_s: float = 120.0
    precision: float = 0.05
    confirm: bool = True

    def __post_init__(self) -> None:
        """Refuse a plan that could not take a step."""
        if not (0 < self.min_rate <= self.start_rate <= self.max_rate and isfinite(self.max_rate)):
            raise UsageError(
                f"rates of the plan are min {self.min_rate:g}, start {self.start_rate:g}, "
                f"max {self.max_rate:g}; "
                f"expected 0 < min <= start <= max"
            )
        if not (
            self.step_s > 0 and self.warmup_s >= 0 and self.max_steps >= 1 and self.precision > 0
        ):
            raise UsageError(
                f"plan has {self.max_steps} steps of {self.step_s:g} s after {self.warmup_s:g} s, "
                f"precision {self.precision:g}; expected positive numbers"
            )

    @classmethod
    def quick(cls, rate: float, *, share: float = 0.6, budget_s: float = 25.0) -> KneePlan:
        """Ask "is `rate` at most `share` of the knee?": one step when it is, else a search below.

        Args:
            rate: the rate that is wanted, requests per second.
            share: the part of the knee it may be.
            budget_s: seconds to spend at most, drains and restarts excluded.
        """
        top = rate / share
        return cls(
            start_rate=top,
            max_rate=top,
            min_rate=min(5.0, top),
            max_steps=5,
            budget_s=budget_s,
            precision=0.1,
            confirm=False,
        )


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
        upper: the lowest rate that was not sustained, None when there was none. The
            true knee lies between `rate` and `upper`.
        censored: True when the highest rate asked for was sustained: the knee is at least `rate`.
        limited_by: what ended the search from above: the "target", the "generator" (this
            machine cannot offer more), the "plan" (steps or time ran out, or censored).
        steps: what was tried, in order.
    """

    rate: float
    upper: float | None
    censored: bool
    limited_by: Literal["target", "generator", "plan"]
    steps: tuple[StepResult, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the knee and its steps; p99 in milliseconds."""
        return {
            "rate": self.rate,
            "upper": self.upper,
            "censored": self.censored,
            "limited_by": self.limited_by,
            "steps": [
                {
                    "rate": step.rate,
                    "sustained": step.sustained,
                    "p99_ms": round(step.p99_s * 1e3, 3),
                    "success_rate": step.success_rate,
                    "achieved_rps": step.achieved_rps,
                    "reason": step.reason,
                }
                for step in self.steps
            ],
        }

    def to_text(self) -> str:
        """Return one line per step and the knee, as plain text."""
        lines = [
            f"{step.rate:8.1f}/s  {'sustained' if step.sustained else step.reason}"
            f"{f' (p99 {step.p99_s * 1e3:.1f} ms)' if step.sustained else ''}"
            for step in self.steps
        ]
        return "\n".join([*lines, self._conclusion()])

    def _conclusion(self) -> str:
        if not self.rate:
            return "no knee: not even the lowest rate tried met the goal"
        if self.censored:
            return f"knee: at least {self.rate:.1f}/s, the highest rate asked for"
        between = "" if self.upper is None else f" (not {self.upper:.1f}/s)"
        blame = (
            "; the generator, not the target, set the limit"
            if self.limited_by == "generator"
            else ""
        )
        return f"knee: {self.rate:.1f}/s{between}{blame}"


class KneeRule:
    """Which rate to try next: doubling until a step fails, then bisection.

    While nothing has failed the rate doubles, and quadruples as long as p99 is an
    eighth of the goal or less (queues grow abruptly near the knee, so a low p99
    says that it is far). When nothing has been sustained the rate halves. Between
    a sustained and a failed rate the next one is their geometric mean, since a
    knee is known to some percent and not to some requests per second.

    Invariant: sustained < failed; every later rate lies between them.
    """

    def __init__(self, plan: KneePlan, goal: KneeGoal) -> None:
        """Begin a search."""
        self._plan = plan
        self._goal = goal
        self._steps: list[StepResult] = []
        self._sustained = 0.0
        self._failed = inf
        self._failed_by: Literal["target", "generator"] = "target"
        self._again: float | None = None
        self._repeated = False
        self._far = False

    def next_rate(self, elapsed_s: float) -> float | None:
        """Return the rate of the next step, or None when the search is over.

        Args:
            elapsed_s: seconds since the search began.
        """
        plan = self._plan
        if len(self._steps) >= plan.max_steps:
            return None
        if elapsed_s + plan.warmup_s + plan.step_s > plan.budget_s and self._steps:
            return None
        if self._again is not None:
            return self._again
        if not self._steps:
            return plan.start_rate
        if self._failed == inf:
            if self._sustained >= plan.max_rate:
                return None
            return min(self._sustained * (4.0 if self._far else 2.0), plan.max_rate)
        if not self._sustained:
            return None if self._failed <= plan.min_rate else max(self._failed / 2, plan.min_rate)
        if self._failed <= self._sustained * (1 + plan.precision):
            return None
        return sqrt(self._sustained * self._failed)

    def record(self, step: StepResult) -> None:
        """Take in the outcome of the rate that `next_rate` had asked for."""
        self._steps.append(step)
        self._far = step.p99_s * 8 <= self._goal.p99_s
        if step.sustained:
            self._again = None
            self._sustained = max(self._sustained, step.rate)
        elif self._deserves_repeat():
            self._again = step.rate
            self._repeated = True
        else:
            self._again = None
            self._failed = min(self._failed, step.rate)
            self._failed_by = "target" if step.sustained is False else "generator"

    def _deserves_repeat(self) -> bool:
        """Say whether a failure is tried again.

        One stutter of the machine must not halve the answer, so the failure that
        ends the doubling is repeated once.
        """
        return (
            self._plan.confirm
            and self._failed == inf
            and self._again is None
            and not self._repeated
        )

    def knee(self) -> Knee:
        """Return what is known now."""
        censored = self._failed == inf and self._sustained >= self._plan.max_rate
        return Knee(
            rate=self._sustained,
            upper=None if self._failed == inf else self._failed,
            censored=censored,
            limited_by="plan" if self._failed == inf else self._failed_by,
            steps=tuple(self._steps),
        )
