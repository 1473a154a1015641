"""The curves of a comparison: what was seen over time, per variant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backstay.lab.compare import Comparison, Sample, VariantRun
from backstay.lab.load import SecondRecord

__all__ = ["Curve", "Series", "Span", "raw_data", "series", "series_of", "spans_of"]

_MB = 1024 * 1024

Curve = tuple[tuple[float, float | None], ...]  # (seconds of load, value); None is a gap


@dataclass(frozen=True, slots=True)
class Series:
    """Four curves of one variant."""

    variant: str
    tasks: Curve
    p99_ms: Curve
    success_pct: Curve
    rss_mb: Curve


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time that gets a background: the warm-up, or a fault."""

    begin: float
    end: float
    kind: str  # "warm-up" or "fault"
    label: str


def series_of(run: VariantRun, duration_s: float) -> Series:
    """Return the curves of one run, from the first second of load to the last.

    Latency and success stand at the middle of the second in which requests
    ended; a second in which none ended is a gap.
    """
    return series(run.name, run.samples, run.seconds, duration_s)


def series(
    name: str, samples: Sequence[Sample], seconds: Sequence[SecondRecord], duration_s: float
) -> Series:
    """Return the curves of what was sampled, and of the load second by second."""
    samples = [sample for sample in samples if 0 <= sample.t <= duration_s + 0.5]
    seconds = [second for second in seconds if second.second < duration_s]
    return Series(
        name,
        tuple(
            (sample.t, None if sample.tasks is None else float(sample.tasks)) for sample in samples
        ),
        tuple(
            (s.second + 0.5, None if s.p99_s is None else max(s.p99_s * 1e3, 0.01)) for s in seconds
        ),
        tuple((s.second + 0.5, 100.0 * s.ok / s.done if s.done else None) for s in seconds),
        tuple((sample.t, None if sample.rss is None else sample.rss / _MB) for sample in samples),
    )


def spans_of(comparison: Comparison) -> list[Span]:
    """Return the warm-up and the faults; faults at the very same time share one span."""
    load = comparison.scenario.load
    spans = [Span(0.0, load.warmup_s, "warm-up", "warm-up")] if load.warmup_s > 0 else []
    together: dict[tuple[float, float], list[str]] = {}
    for fault in comparison.scenario.faults:
        window = (fault.at_s, min(fault.until_s or load.duration_s, load.duration_s))
        together.setdefault(window, []).append(fault.label)
    spans += [
        Span(begin, end, "fault", " + ".join(labels))
        for (begin, end), labels in sorted(together.items())
    ]
    return spans


def raw_data(comparison: Comparison) -> dict[str, object]:
    """Return everything the curves are drawn from, for people who want to draw their own."""
    duration = comparison.duration_s
    return {
        "result": comparison.to_json(),
        "faults": [
            {"begin_s": span.begin, "end_s": span.end, "kind": span.kind, "label": span.label}
            for span in spans_of(comparison)
        ],
        "series": {
            run.name: {
                "tasks": _rounded(series.tasks),
                "p99_ms": _rounded(series.p99_ms),
                "success_pct": _rounded(series.success_pct),
                "rss_mb": _rounded(series.rss_mb),
                "tasks_by_service": [
                    [round(sample.t, 2), dict(sample.tasks_by_service)] for sample in run.samples
                ],
                "seconds": [second.to_json() for second in run.seconds],
            }
            for run in comparison.runs
            for series in [series_of(run, duration)]
        },
    }


def _rounded(curve: Sequence[tuple[float, float | None]]) -> list[list[float | None]]:
    return [[round(t, 2), None if value is None else round(value, 2)] for t, value in curve]
