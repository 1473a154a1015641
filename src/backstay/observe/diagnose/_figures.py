"""Numbers as people read them, for the text and for the page."""

from __future__ import annotations

from backstay.observe.diagnose._cause import Cause
from backstay.observe.diagnose._diagnosis import Diagnosis, Fact

__all__ = ["amount", "change", "facts_of", "pace", "size", "span", "verdict_line"]


def size(count: float) -> str:
    """Return bytes with a unit."""
    for unit, step in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(count) >= step:
            return f"{count / step:.1f} {unit}"
    return f"{count:.0f} B"


def span(seconds: float) -> str:
    """Return seconds in the unit that fits."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def pace(per_second: float) -> str:
    """Return a rate, by the hour when it is low."""
    return f"{per_second:+.1f}/s" if abs(per_second) >= 0.1 else f"{per_second * 3600:+.1f}/h"


def amount(value: float, unit: str) -> str:
    """Return a figure with its unit."""
    if unit == "bytes":
        return size(value)
    return f"{value:,.3f} s" if unit == "s" else f"{value:,.4g}" if value % 1 else f"{value:,.0f}"


def change(fact: Fact) -> str:
    """Return how a figure has changed, with its sign."""
    moved = fact.after - fact.before
    return f"{'+' if moved >= 0 else '-'}{amount(abs(moved), fact.unit)}"


def facts_of(cause: Cause) -> list[tuple[str, str]]:
    """Return what is known of a cause as pairs of a label and a text; empty ones are left out."""
    known = [
        ("how much", _how_much(cause)),
        ("how sure", f"{cause.sure}; score {cause.score:g} of 100"),
        ("blocked on", cause.blocked_on),
        ("held by", cause.held_by),
        ("owner", cause.owner),
        ("requests", ", ".join(cause.trace_ids)),
    ]
    return [(label, text) for label, text in known if text]


def _how_much(cause: Cause) -> str:
    if cause.kind == "blocked loop":
        return ""  # the headline says it
    tasks = cause.kind == "leak"
    parts = [f"{cause.count:,} {'held' if tasks else 'refused'}"]
    if cause.per_s:
        parts.append(pace(cause.per_s))
    if cause.bytes_held:
        parts.append(f"{size(cause.bytes_held)} of memory at least")
    return ", ".join(parts)


def verdict_line(diagnosis: Diagnosis) -> str:
    """Return the answer in one sentence."""
    if not diagnosis.causes:
        return (
            "Nothing to accuse: no line leaks, none blocks a loop for long, no guard is saturated."
        )
    first = diagnosis.causes[0]
    if first.kind == "saturated guard":
        return f"{first.headline}."
    if "started here" in first.headline:
        return f"{first.headline.replace('started here', f'started at {first.site}', 1)}."
    return f"{first.headline} at {first.site}."
