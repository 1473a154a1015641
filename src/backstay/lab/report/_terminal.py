"""The outcome as text: the table, the guilty line, the reasons, the verdict."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

from backstay.lab.compare import Comparison, RootCause
from backstay.lab.report._figures import count
from backstay.lab.report._table import Row, rows

__all__ = ["Paint", "no_paint", "to_text"]

Paint = Callable[[str, str], str]
"""Colours a text; the names are those of the palette: a, b, good, bad, open, soft, strong."""

_WIDTH = 100
_CODES = {"a": "33", "b": "36", "good": "32", "bad": "31", "open": "33", "soft": "2", "strong": "1"}
_MARKS = {"met": "✓", "missed": "✗", "unknown": "?", "goal met": "★", "goal missed": "☆"}
_HUES = {
    "met": "good",
    "missed": "bad",
    "unknown": "open",
    "goal met": "soft",
    "goal missed": "soft",
}
_VERDICTS = {"PASS": "good", "FAIL": "bad", "INCONCLUSIVE": "open"}


def no_paint(hue: str, text: str) -> str:
    """Return the text as it is."""
    return text


def ansi_paint(hue: str, text: str) -> str:
    """Return the text in a terminal's colour."""
    return f"\x1b[{_CODES[hue]}m{text}\x1b[0m"


def to_text(comparison: Comparison, *, out: Path, paint: Paint = no_paint) -> str:
    """Return the whole outcome for a terminal.

    Args:
        comparison: what came of it.
        out: the folder that the report was written to.
        paint: colours words; `no_paint` for files and pipes.
    """
    lines = [
        "",
        paint("strong", comparison.scenario.title),
        paint("soft", comparison.rate_note),
        "",
    ]
    if comparison.results:
        lines += _table(comparison, paint)
    if comparison.root_cause:
        lines += ["", *_leak(comparison.root_cause[0], paint)]
    lines.append("")
    for check in comparison.checks:
        mark = paint(_HUES[check.status], _MARKS[check.status])
        first, *rest = check.sentence.splitlines()
        lines += [f"{mark} {first}", *(paint("soft", line) for line in rest)]
    lines += [paint("soft", f"note: {note}") for note in comparison.notes]
    verdict = paint(_VERDICTS[comparison.verdict], paint("strong", comparison.verdict))
    lines += ["", f"{verdict}  after {comparison.took_s:.0f} s; open {out / 'report.html'}", ""]
    return "\n".join(lines)


def _table(comparison: Comparison, paint: Paint) -> list[str]:
    names = [variant.name for variant in comparison.scenario.variants]
    head = Row("", names[0], names[-1], f"{names[-1]} has")
    table = [head, *rows(comparison)]
    widths = [
        max(len(text) for text in column)
        for column in zip(
            *((r.label, r.baseline, r.candidate, r.change) for r in table), strict=True
        )
    ]
    lines: list[str] = []
    for row in table:
        label = row.label.ljust(widths[0])
        cells = [
            paint("a", row.baseline.rjust(widths[1])),
            paint("b", row.candidate.rjust(widths[2])),
            row.change.rjust(widths[3]),
        ]
        if row.key == "headline":
            label = paint("strong", label)
        lines.append("  " + "   ".join([label, *cells]).rstrip())
        if row is head:
            lines.append("  " + paint("soft", "─" * (sum(widths) + 9)))
    return lines


def _leak(cause: RootCause, paint: Paint) -> list[str]:
    lines = [f"the line that leaks: {paint('strong', cause.site)} in {cause.function}"]
    if cause.source is not None:
        for number, text in cause.source.lines:
            guilty = number == cause.source.guilty
            line = f"  {'>' if guilty else ' '} {number:>5} │ {text}"
            lines.append(paint("bad", line) if guilty else paint("soft", line))
    blocked = f", blocked on {cause.blocked_on}" if cause.blocked_on else ""
    lines.append(f"  {count(cause.count)} tasks, {cause.verdict}{blocked}")
    if cause.owner:
        lines.append(f"  owner: {cause.owner}")
    if cause.trace_ids:
        lines.append(f"  trace: {cause.trace_ids[0]}")
    if cause.advice:
        lines += textwrap.wrap(
            f"advice: {cause.advice}",
            _WIDTH,
            initial_indent="  ",
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines
