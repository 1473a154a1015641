"""The knee: the highest rate a system sustains within its latency goal, found by rate steps."""

from backstay.lab.calibrate._find_knee import Measure, find_knee, judge_step
from backstay.lab.calibrate._knee_rule import Knee, KneeGoal, KneePlan, KneeRule, StepResult

__all__ = [
    "Knee",
    "KneeGoal",
    "KneePlan",
    "KneeRule",
    "Measure",
    "StepResult",
    "find_knee",
    "judge_step",
]
