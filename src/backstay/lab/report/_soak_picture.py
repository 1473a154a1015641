"""A soak as one picture: tasks and memory over time, with the faults behind them."""

from __future__ import annotations

from pathlib import Path

from backstay.errors import UsageError
from backstay.lab.report._chart import Chart, Line
from backstay.lab.report._figures import count
from backstay.lab.report._picture import card
from backstay.lab.report._scale import linear
from backstay.lab.report._series import Curve, Span, series
from backstay.lab.soak import Soak

__all__ = ["soak_picture", "write_soak_picture"]


def soak_picture(soak: Soak) -> str:
    """Return a self-contained SVG, for light and dark pages."""
    duration = 60.0 * soak.minutes
    seen = series(soak.variant, soak.samples, soak.seconds, duration)
    first, last = soak.looks[0], soak.looks[-1]
    charts = [
        _chart(soak, "tasks", "Live tasks", "all services", seen.tasks, first.tasks, last.tasks),
        _chart(
            soak,
            "rss_mb",
            "Resident memory",
            "MB, all services",
            seen.rss_mb,
            _mib(first.rss),
            _mib(last.rss),
        ),
    ]
    note = f"{soak.minutes:g} min at {soak.rate:,.0f} requests/s, {len(soak.faults)} faults came and went"
    return card(charts, f"{soak.scenario}, {soak.variant}: {soak.verdict}", note)


def _chart(
    soak: Soak,
    key: str,
    title: str,
    unit: str,
    curve: Curve,
    first: float | None,
    last: float | None,
) -> Chart:
    """Draw one curve; the figure at its end is the judged one: the medians of the first and last minute."""
    both = first is not None and last is not None
    figure = f"{count(first)} → {count(last)}" if first is not None and last is not None else ""
    known = [value for _, value in curve if value is not None] or [1.0]
    return Chart(
        key=key,
        title=title,
        unit=unit,
        lines=[Line("first → last" if both else soak.variant, "b", curve, figure)],
        spans=[Span(one.at_s, one.until_s or one.at_s, "fault", one.label) for one in soak.faults],
        y=linear(max(known) * 1.02),
        duration_s=60.0 * soak.minutes,
        write=count,
        span_labels=False,
    )


def _mib(size: float | None) -> float | None:
    return None if size is None else size / (1024 * 1024)


def write_soak_picture(soak: Soak, out: Path) -> Path:
    """Write soak.svg and return its path.

    Raises:
        UsageError: the folder cannot be written.
    """
    path = out / "soak.svg"
    try:
        path.write_text(soak_picture(soak), encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror}; choose another folder with --out"
        ) from error
    return path
