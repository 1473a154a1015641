"""One request, span by span, as bars in time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from backstay.observe.spans._critical import critical_path
from backstay.observe.spans._span import SpanRecord, trees
from backstay.observe.spans._table import _time

__all__ = ["Bar", "waterfall", "waterfall_to_text"]

#: Spans of one trace that are shown.
MOST_BARS: Final = 200
_NARROWEST: Final = 12  # letters of a bar
_WIDEST_LABEL: Final = 60


class Bar(NamedTuple):
    """One line of a waterfall. Seconds from the begin of its first span."""

    depth: int
    span: SpanRecord
    begin_s: float
    end_s: float
    own_s: float  # on the critical path, by itself
    orphan: bool  # its parent is not among the spans

    def to_json(self) -> dict[str, Any]:
        """Return the bar with its span as one document of plain values."""
        told = self._asdict()
        return {**told.pop("span")._asdict(), **told}


def waterfall(spans: Iterable[SpanRecord], trace_id: str) -> list[Bar]:
    """Return the bars of a trace, parents before children, the newest 200 left out beyond that many.

    Args:
        spans: of any traces.
        trace_id: of the one that is wanted.
    """
    roots = trees(span for span in spans if span.trace_id == trace_id)
    if not roots:
        return []
    zero = min(root.span.start for root in roots)
    bars: list[Bar] = []
    for root in roots:
        own: Counter[str] = Counter()
        for piece in critical_path(root):
            own[piece.span.span_id] += piece.end - piece.start
        for depth, tree in root.walk():
            span = tree.span
            begin, end = (span.start - zero) / 1e9, (span.end - zero) / 1e9
            bars.append(Bar(depth, span, begin, end, own[span.span_id] / 1e9, tree.orphan))
    return bars[:MOST_BARS]


def waterfall_to_text(bars: Sequence[Bar], width: int = 100) -> str:
    """Return a waterfall for a terminal that is so many letters wide.

    Where the request was kept by a span itself, its bar is dark; an exclamation mark tells an error.
    """
    if not bars:
        return ""
    whole = max((bar.end_s for bar in bars), default=0.0) or 1e-9
    labels = [_label(bar) for bar in bars]
    column = min(_WIDEST_LABEL, max(map(len, labels)))
    room = max(_NARROWEST, width - column - 22)
    lines = [f"trace {bars[0].span.trace_id}, {len(bars)} spans in {_time(whole)}"]
    for bar, label in zip(bars, labels, strict=True):
        cut = label if len(label) <= column else label[: column - 1] + "…"
        first = min(room - 1, int(bar.begin_s / whole * room))
        last = max(first + 1, min(room, round(bar.end_s / whole * room)))
        mark = "█" if bar.own_s > 0.05 * whole else "▒"
        drawn = f"{'':{first}}{mark * (last - first)}"
        lines.append(
            f"{cut:{column}}  {_time(bar.begin_s) if bar.begin_s else '0':>8}"
            f" {_time(bar.end_s - bar.begin_s):>8}  {drawn}".rstrip()
        )
    return "\n".join(lines) + "\n"


def _label(bar: Bar) -> str:
    span = bar.span
    error = f"  ! {span.error}" if span.error else ""
    lost = "  (its parent is not here)" if bar.orphan else ""
    return f"{'  ' * bar.depth}{span.service}: {span.name}{lost}{error}"
