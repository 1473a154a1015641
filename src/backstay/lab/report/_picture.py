"""The comparison as one picture for a README: tasks and p99, side by side, on a card of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from pathlib import Path

from backstay.errors import UsageError
from backstay.lab.compare import Comparison, VariantResult, ratio
from backstay.lab.report._chart import Chart, draw
from backstay.lab.report._charts import charts_of
from backstay.lab.report._figures import times
from backstay.lab.report._style import CHART_CSS, PALETTE_CSS
from backstay.lab.report._table import pair

__all__ = ["card", "picture", "write_picture"]

_GAP, _MARGIN, _TOP = 28.0, 26.0, 62.0


def picture(comparison: Comparison) -> str:
    """Return a self-contained SVG with the curves of tasks and p99, for light and dark pages."""
    baseline, candidate = pair(comparison)
    headline = comparison.scenario.title
    if baseline is not None and candidate is not None:
        headline = _headline(comparison, baseline, candidate)
    note = (
        f"{comparison.offered_rps:,.0f} requests/s, same arrivals and same fault on both variants"
    )
    return card(_two(comparison), headline, note)


def card(charts: Sequence[Chart], headline: str, note: str) -> str:
    """Return charts side by side under a headline, as one SVG that needs nothing else."""
    charts = [replace(chart, height=280.0) for chart in charts]
    width = 2 * _MARGIN + _GAP * (len(charts) - 1) + sum(chart.width for chart in charts)
    height = _TOP + charts[0].height + 14
    x, placed = _MARGIN, list[str]()
    for chart in charts:
        # A nested svg needs its own size, or it fills its parent.
        inner = draw(chart).replace(
            "<svg ",
            f'<svg x="{x:g}" y="{_TOP:g}" width="{chart.width:g}" height="{chart.height:g}" ',
            1,
        )
        placed.append(inner)
        x += chart.width + _GAP
    return "\n".join(
        [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
                f'width="{width:g}" height="{height:g}" role="img" aria-label="{escape(headline)}">'
            ),
            (
                f"<style>{PALETTE_CSS}{CHART_CSS}"
                ".headline{font:650 21px system-ui,-apple-system,'Segoe UI',Roboto,Arial,sans-serif;fill:var(--ink)}"
                ".note{font:13.5px system-ui,-apple-system,'Segoe UI',Roboto,Arial,sans-serif;fill:var(--soft)}"
                ".ground{fill:var(--card);stroke:var(--rule)}</style>"
            ),
            f'<rect class="ground" x=".5" y=".5" width="{width - 1:g}" height="{height - 1:g}" rx="12"/>',
            f'<text class="headline" x="{_MARGIN + 2:g}" y="38">{escape(headline)}</text>',
            f'<text class="note" text-anchor="end" x="{width - _MARGIN:g}" y="38">{escape(note)}</text>',
            *placed,
            "</svg>\n",
        ]
    )


def _two(comparison: Comparison) -> list[Chart]:
    """Return the charts that show what is judged."""
    charts = {chart.key: chart for chart in charts_of(comparison)}
    first = "success_pct" if "failed" in comparison.scenario.thresholds.judged else "tasks"
    return [charts[first], charts["p99_ms"]]


def _headline(comparison: Comparison, baseline: VariantResult, candidate: VariantResult) -> str:
    p99 = f"{times(ratio(baseline.p99_ms, candidate.p99_ms))} lower p99"
    if "failed" in comparison.scenario.thresholds.judged:
        failed = ratio(baseline.failed_share or 0.0, candidate.failed_share or 0.0)
        return f"{times(failed)} fewer failed requests, {p99}"
    return f"{times(ratio(baseline.tasks_peak, candidate.tasks_peak))} fewer tasks, {p99}"


def write_picture(comparison: Comparison, out: Path) -> Path:
    """Write demo.svg and return its path.

    Raises:
        UsageError: the folder cannot be written.
    """
    path = out / "demo.svg"
    try:
        path.write_text(picture(comparison), encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror}; choose another folder with --out"
        ) from error
    return path
