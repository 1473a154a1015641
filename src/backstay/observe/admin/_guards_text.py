"""The document of the guards as a table for a terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

__all__ = ["guards_to_text"]

Document = Mapping[str, Any]

_HEADINGS: Final = ("KIND", "NAME", "MODE", "STATE", "REFUSED", "SEEN")
#: Columns that the figures need beside the table; in less they stand below their guard.
_LEAST: Final = 40
#: Between a figure's name and its value, which stay on one line: a space that does not break.
_GLUE: Final = "\N{NO-BREAK SPACE}"
#: Shown in columns of their own.
_ELSEWHERE: Final = frozenset({"state", "source", "store", "rejected"})


def guards_to_text(document: Document, *, width: int | None = None) -> str:
    """Render the answer of ``/v1/guards`` for people.

    Args:
        document: what the admin plane of a process answered.
        width: columns of the terminal; found out when omitted.

    Returns:
        The text, ending in a newline. Figures that are zero are left out.
    """
    width = width or shutil.get_terminal_size((100, 24)).columns
    rows: Sequence[Document] = document["guards"]
    if not rows:
        return f"no guards in process {document['pid']}\n"
    number = len(rows) + document["left_out"]
    lines = [f"{number:,} {'guard' if number == 1 else 'guards'}, process {document['pid']}", ""]
    lines += _table(rows, width)
    if document["left_out"]:
        lines += ["", f"… and {document['left_out']:,} more that have refused less"]
    return "\n".join(line.replace(_GLUE, " ").rstrip() for line in lines) + "\n"


def _table(rows: Sequence[Document], width: int) -> Iterator[str]:
    cells = [_HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADINGS))]
    used = sum(widths) + 2 * len(widths)
    beside = width - used >= _LEAST
    indent = " " * (used if beside else 4)
    yield _line(_HEADINGS, widths) + ("FIGURES" if beside else "")
    for line, row in zip(cells[1:], rows, strict=True):
        head = _line(line, widths)
        figures = textwrap.wrap(
            ", ".join(_figures(row["statistics"])),
            max(20, width - len(indent)),
            break_long_words=False,
        )
        if beside:
            yield head + (figures[0] if figures else "")
            figures = figures[1:]
        else:
            yield head
        yield from (indent + more for more in figures)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "".join(f"{cell:<{size}}  " for cell, size in zip(cells, widths, strict=True))


def _cells(row: Document) -> tuple[str, ...]:
    return (
        row["kind"],
        row["name"],
        row["mode"],
        row["state"] or "-",
        f"{row['rejected']:,}",
        _seen(row["age_s"]),
    )


def _seen(age: float | None) -> str:
    """Say how old the figures are; its loop is blocked where they are not of now."""
    if age is None:
        return "never"
    return "now" if age < 1 else f"{age:.0f}s ago"


def _figures(statistics: Document | None) -> Iterator[str]:
    for name, value in (statistics or {}).items():
        if isinstance(value, Mapping):
            part = cast("Document", value)
            inner = " ".join(_spread(part)) if "p99_s" in part else ", ".join(_figures(part))
            if inner:
                yield f"{name}{_GLUE}({inner})"
        elif value and name not in _ELSEWHERE:
            yield name if value is True else f"{name}{_GLUE}{_number(value)}"


def _spread(value: Document) -> Iterator[str]:
    if value["count"]:
        yield f"{value['count']:,}×"
        yield from (
            f"{name[:-2]}{_GLUE}{value[name]:.3g}s" for name in ("p50_s", "p99_s", "longest_s")
        )


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
