"""The table of figures, made once for the terminal and the report alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from backstay.lab.compare import Comparison, VariantResult, ratio
from backstay.lab.report._figures import (
    count,
    duration_ms,
    growth,
    memory_mb,
    seconds,
    share,
    times,
)

__all__ = ["Row", "pair", "rows"]


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of each variant, and how they compare."""

    label: str
    baseline: str
    candidate: str
    change: str
    key: Literal["headline", "detail"] = "detail"


def pair(comparison: Comparison) -> tuple[VariantResult | None, VariantResult | None]:
    """Return the figures of the variant to beat and of the one that is to hold."""
    names = [run.name for run in comparison.runs]
    if not names:
        return None, None
    first, last = names[0], names[-1]
    order = [variant.name for variant in comparison.scenario.variants]
    if first == last:
        # Only one was run, or the other broke off: it takes its own column.
        only = comparison.results.get(first)
        return (only, None) if first == order[0] else (None, only)
    return comparison.results.get(first), comparison.results.get(last)


def rows(comparison: Comparison) -> list[Row]:
    """Return the table, the figures that decide first."""
    baseline, candidate = pair(comparison)

    def row(
        label: str,
        read: str,
        write: str,
        *,
        less: str = "",
        key: Literal["headline", "detail"] = "detail",
    ) -> Row:
        values = [None if r is None else getattr(r, read) for r in (baseline, candidate)]
        texts = [_write(write, value) for value in values]
        change = ""
        if less and all(isinstance(value, int | float) for value in values):
            change = f"{times(ratio(values[0] or 0.0, values[1] or 0.0))} {less}"
        return Row(label, texts[0], texts[1], change, key)

    judged = comparison.scenario.thresholds.judged
    fault: list[Row] = []
    if "failed" in judged:
        fault.append(
            row("Failed under the fault", "failed_share", "share", less="fewer", key="headline")
        )
    if "recovery" in judged:
        fault.append(row("Back to normal after", "recovered_s", "s", key="headline"))
    return [
        *fault,
        row("Tasks, peak", "tasks_peak", "count", less="fewer", key="headline"),
        row("Tasks, mean", "tasks_mean", "count", less="fewer"),
        row("Latency, p50", "p50_ms", "ms", less="lower"),
        row("Latency, p90", "p90_ms", "ms", less="lower"),
        row("Latency, p99", "p99_ms", "ms", less="lower", key="headline"),
        row("Success, all requests", "success_rate", "share"),
        row("Success, outside the fault", "unaffected_success_rate", "share", key="headline"),
        row("Memory growth", "rss_growth_pct_per_min", "growth", key="headline"),
        row("Memory, peak", "rss_peak_mb", "mb", less="smaller"),
        row("Requests judged", "requests", "count"),
    ]


def _write(kind: str, value: float | None) -> str:
    if kind == "growth":
        return growth(value)
    if value is None:
        return "–"
    writers = {"count": count, "ms": duration_ms, "share": share, "mb": memory_mb, "s": seconds}
    return writers[kind](value)
