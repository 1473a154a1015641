"""The four charts of a comparison: tasks, p99, success, memory."""

from __future__ import annotations

from collections.abc import Callable

from backstay.lab.compare import Comparison
from backstay.lab.report._chart import Chart, Line
from backstay.lab.report._figures import count, duration_ms, growth, share
from backstay.lab.report._scale import Scale, linear, logarithmic
from backstay.lab.report._series import Curve, Series, series_of, spans_of
from backstay.lab.report._table import pair

__all__ = ["charts_of"]


def charts_of(comparison: Comparison) -> list[Chart]:
    """Return the charts; variants that broke off are drawn as far as they came."""
    series = [series_of(run, comparison.duration_s) for run in comparison.runs]
    figures = _figures(comparison)

    def chart(
        key: str,
        title: str,
        unit: str,
        read: Callable[[Series], Curve],
        scale: Callable[[list[float]], Scale],
        write: Callable[[float], str],
    ) -> Chart:
        lines = [
            Line(one.variant, _css(comparison, one.variant), read(one), figures[one.variant][key])
            for one in series
        ]
        values = [v for line in lines for _, v in line.curve if v is not None] or [1.0]
        return Chart(
            key=key,
            title=title,
            unit=unit,
            lines=lines,
            spans=spans_of(comparison),
            y=scale(values),
            duration_s=comparison.duration_s,
            write=write,
        )

    return [
        chart("tasks", "Live tasks", "all services", lambda s: s.tasks, _from_zero, count),
        chart(
            "p99_ms", "p99 latency", "per second, log scale", lambda s: s.p99_ms, _decades, _short
        ),
        chart(
            "success_pct",
            "Requests that succeed",
            "% of those ended in the second",
            lambda s: s.success_pct,
            lambda _: linear(100.0, wanted=4),
            lambda v: f"{v:g} %",
        ),
        chart(
            "rss_mb", "Resident memory", "MB, all services", lambda s: s.rss_mb, _from_zero, count
        ),
    ]


def _css(comparison: Comparison, variant: str) -> str:
    return "a" if variant == comparison.scenario.variants[0].name else "b"


def _figures(comparison: Comparison) -> dict[str, dict[str, str]]:
    """Return what stands beside the end of each line: the judged figure, never the last sample."""
    blank = {"tasks": "", "p99_ms": "", "success_pct": "", "rss_mb": ""}
    figures = {run.name: dict(blank) for run in comparison.runs}
    for result in pair(comparison):
        if result is not None:
            figures[result.name] = {
                "tasks": f"{count(result.tasks_peak)} at peak",
                "p99_ms": f"{duration_ms(result.p99_ms)} overall",
                "success_pct": f"{share(result.success_rate)} overall",
                "rss_mb": growth(result.rss_growth_pct_per_min),
            }
    return figures


def _from_zero(values: list[float]) -> Scale:
    return linear(max(values) * 1.02)


def _decades(values: list[float]) -> Scale:
    return logarithmic(min(values), max(values))


def _short(ms: float) -> str:
    return f"{ms:g} ms" if ms < 1000 else f"{ms / 1000:g} s"
