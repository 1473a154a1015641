"""Scenarios: what to start, what to send, what to break, and what counts as a pass."""

from backstay.lab.scenario._lookup import find_scenario
from backstay.lab.scenario._parse import load_scenario, parse
from backstay.lab.scenario._placeholders import Blanks, fill
from backstay.lab.scenario._records import (
    Fault,
    LoadPlan,
    Process,
    Readiness,
    Scenario,
    Thresholds,
    Variant,
)

__all__ = [
    "Blanks",
    "Fault",
    "LoadPlan",
    "Process",
    "Readiness",
    "Scenario",
    "Thresholds",
    "Variant",
    "fill",
    "find_scenario",
    "load_scenario",
    "parse",
]
