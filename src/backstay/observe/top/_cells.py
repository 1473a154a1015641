"""Text for the cells of a terminal: printable, of a known width, and numbers that a person reads at a glance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple
from unicodedata import category, combining, east_asian_width

__all__ = [
    "Line",
    "Span",
    "age",
    "clean",
    "fit",
    "fit_left",
    "flat",
    "memory",
    "per_second",
    "plain",
    "share",
    "short_time",
    "signed",
    "width_of",
]


class Span(NamedTuple):
    """A piece of a line: text, and how it looks.

    The looks are "", "strong", "soft", "good", "bad", "open", "head" and "picked".
    """

    text: str
    look: str = ""


Line = tuple[Span, ...]

_UNKNOWN: Final = "-"
_ASCII: Final = str.maketrans(
    {"…": "~", "−": "-", "µ": "u", "·": "|", "▼": "v", "▲": "^", "›": ">", "─": "-", "×": "x"}
)


def clean(text: str) -> str:
    """Replace what would move the cursor, or what has no width of its own: names come from applications."""
    if text.isascii() and text.isprintable():
        return text
    # Of category C are controls, marks of direction and halves of surrogates.
    return "".join("?" if category(one)[0] == "C" or not one.isprintable() else one for one in text)


def plain(text: str) -> str:
    """Spell a text for a terminal that knows ASCII only."""
    return text.translate(_ASCII).encode("ascii", "replace").decode("ascii")


def flat(line: Line) -> str:
    """Return the text of a line."""
    return "".join(span.text for span in line)


def width_of(text: str) -> int:
    """Return how many cells a text takes."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(one: str) -> int:
    if combining(one):
        return 0
    return 2 if east_asian_width(one) in "WF" else 1


def fit(text: str, width: int, *, right: bool = False) -> str:
    """Cut or fill a text so that it takes `width` cells; what is cut off at its end is an ellipsis."""
    if width_of(text) > width:
        text = _cut(text, width)
    fill = " " * (width - width_of(text))
    return fill + text if right else text + fill


def fit_left(text: str, width: int) -> str:
    """Do the same, and cut at the begin: of a path, the end is what tells."""
    if width_of(text) > width:
        text = _cut(text[::-1], width)[::-1]
    return text + " " * (width - width_of(text))


def _cut(text: str, width: int) -> str:
    if width <= 0:
        return ""
    kept, used = "", 0
    for one in text:
        if used + _cells(one) > width - 1:
            break
        kept, used = kept + one, used + _cells(one)
    return kept + "…"


# -- numbers ------------------------------------------------------------------------


def _or_unknown(spell: Callable[[float], str]) -> Callable[[float | None], str]:
    return lambda value: _UNKNOWN if value is None else spell(value)


def _short_time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def _age(seconds: float) -> str:
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600:02}h"


def _memory(size: float) -> str:
    for unit, least in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(size) >= least:
            return f"{size / least:.3g} {unit}"
    return f"{size:.0f} B"


def _per_second(rate: float) -> str:
    if not rate:
        return "0"
    return f"{rate:,.0f}" if rate >= 99.95 else f"{rate:.1f}" if rate >= 0.05 else "<0.1"


def _signed(text: str, value: float) -> str:
    return f"+{text}" if value > 0 else text.replace("-", "−")


short_time = _or_unknown(_short_time)
age = _or_unknown(_age)
memory = _or_unknown(_memory)
per_second = _or_unknown(_per_second)
share = _or_unknown(lambda part: f"{part:.0%}")


def signed(value: float) -> str:
    """Return a size in bytes with its sign."""
    return _signed(_memory(value), value)
