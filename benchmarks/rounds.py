"""Interleaved rounds: the one way in which all benchmarks here measure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Figure:
    """One measured number; budgets.toml may hold a limit under its name."""

    name: str  # "spawn.tracked.uvloop"
    value: float
    unit: str  # "x", "B", "ms"
    note: str = ""  # what it is measured against, for the table
    detail: Mapping[str, float] = field(default_factory=dict)


def low(samples: list[float]) -> float:
    """Return the second percentile: what the work costs when nobody disturbs it."""
    ordered = sorted(samples)
    return ordered[max(0, len(ordered) // 50)]


def interleave(variants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Run every variant once per round, in turn, and collect what each returned."""
    samples: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, run in variants.items():
            samples[name].append(run())
    return samples
