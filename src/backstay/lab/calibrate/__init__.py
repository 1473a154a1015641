"""The knee: the highest rate a system sustains within its latency goal, found by rate steps."""

from ._find_knee import find_knee
from ._knee_rule import Knee, KneeGoal, KneePlan, StepResult

__all__ = ["Knee", "KneeGoal", "KneePlan", "StepResult", "find_knee"]
