"""Metric families as plain values: what a scrape is made of before it becomes text.

Whatever comes from an application is bounded here and nowhere else: the length of a label, the
characters in it, and the rows of a family.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Final, Literal, TypeAlias

from backstay.sync._durations import Spread

__all__ = ["Exemplar", "Family", "Kind", "Labels", "Page", "Sample", "label"]

Kind: TypeAlias = Literal["counter", "gauge", "histogram", "info"]
Labels: TypeAlias = tuple[tuple[str, str], ...]

#: Characters of a label's value. A path with its line fits; a text that somebody has sent does not.
LONGEST_LABEL: Final = 120
#: Rows of a family; more of them come from a name for each user or request, by mistake.
MOST_ROWS: Final = 500
#: OpenMetrics allows 128 characters in the names and values of an exemplar's labels together.
_LONGEST_TRACE: Final = 64


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One case of those that were counted, to go on from a figure to a trace."""

    trace_id: str
    value: float  # what it added to the sample
    at: float | None = None  # unix seconds


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of a family."""

    labels: Labels
    value: float
    suffix: str = ""  # "_total", "_bucket", "_count", "_sum" or "_info"
    exemplar: Exemplar | None = None


@dataclass(frozen=True, slots=True)
class Family:
    """All rows of one metric.

    Attributes:
        name: without the ``_total`` of a counter.
        kind: of the metric.
        help: what it says, in a sentence.
        unit: "seconds", "bytes" or "", and then the name ends with it.
        samples: the rows.
    """

    name: str
    kind: Kind
    help: str
    unit: str = ""
    samples: tuple[Sample, ...] = ()


def label(value: object) -> str:
    """Return what may be shown as the value of a label: one line, printable, and short.

    Of a long one the end is kept: it is the file and the line of a path.
    """
    text = str(value)
    if len(text) <= LONGEST_LABEL and text.isprintable():
        return text
    text = "".join(c if c.isprintable() else "?" for c in text[-LONGEST_LABEL - 1 :])
    return text if len(text) <= LONGEST_LABEL else f"…{text[2:]}"


@dataclass(slots=True)
class _Draft:
    family: Family
    rows: dict[tuple[str, Labels], Sample] = field(default_factory=dict[tuple[str, Labels], Sample])


class Page:
    """Collects rows into families, whatever the order in which they come.

    Two rows of the same labels are one row: their sum, or for `most` the larger of the two. So two
    guards of one name make a legal page, and one that says how both are doing together.

    Attributes:
        left_out: rows that were more than a family may have.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._drafts: dict[str, _Draft] = {}
        self.left_out = 0

    def counter(
        self,
        name: str,
        help: str,  # noqa: A002 - the word of the format
        value: float | None,
        exemplar: Exemplar | None = None,
        **labels: object,
    ) -> None:
        """Put a row of a counter; `name` is without ``_total``, and None is no row."""
        self._put(self._draft(name, "counter", help), "_total", value, labels, exemplar)

    def gauge(
        self,
        name: str,
        help: str,  # noqa: A002 - as above
        value: float | None,
        *,
        most: bool = False,
        **labels: object,
    ) -> None:
        """Put a row of a gauge; None is no row."""
        self._put(self._draft(name, "gauge", help), "", value, labels, None, most=most)

    def info(self, name: str, help: str, **labels: object) -> None:  # noqa: A002 - as above
        """Put a row that says something in its labels."""
        self._put(self._draft(name, "info", help), "_info", 1, labels, None, most=True)

    def histogram(
        self,
        name: str,
        help: str,  # noqa: A002 - as above
        spread: Spread,
        edges: Iterable[float],
        **labels: object,
    ) -> None:
        """Put the rows of a histogram.

        Args:
            name: of the family; it ends with ``_seconds``.
            help: what it says.
            spread: what was counted.
            edges: the upper edges in seconds to show, rising: always the same, as a reader of
                histograms needs. A duration is known to a factor of two, so it counts in the first
                edge that its own bucket fits below.
            labels: of all rows.
        """
        draft = self._draft(name, "histogram", help)
        if len(draft.rows) >= MOST_ROWS * 4:
            self.left_out += 1
            return
        for edge in edges:
            below = sum(count for upper, count in spread.buckets if upper <= edge)
            self._put(draft, "_bucket", below, {**labels, "le": repr(float(edge))}, None, cap=False)
        self._put(draft, "_bucket", spread.count, {**labels, "le": "+Inf"}, None, cap=False)
        self._put(draft, "_count", spread.count, labels, None, cap=False)
        self._put(draft, "_sum", spread.total_s, labels, None, cap=False)

    def families(self) -> list[Family]:
        """Return all that was put, in the order of the first row of each; rows by their labels."""
        return [
            replace(draft.family, samples=_in_order(draft.family.kind, draft.rows.values()))
            for draft in self._drafts.values()
        ]

    def _draft(self, name: str, kind: Kind, text: str) -> _Draft:
        draft = self._drafts.get(name)
        if draft is None:
            unit = name.rpartition("_")[2]
            unit = unit if unit in ("seconds", "bytes") and kind != "info" else ""
            draft = self._drafts[name] = _Draft(Family(name, kind, text, unit))
        return draft

    def _put(
        self,
        draft: _Draft,
        suffix: str,
        value: float | None,
        labels: Mapping[str, object],
        exemplar: Exemplar | None,
        *,
        most: bool = False,
        cap: bool = True,
    ) -> None:
        if value is None or not isfinite(value):
            return
        if exemplar is not None and not _fits(exemplar):
            exemplar = None
        key = suffix, tuple((name, label(text)) for name, text in labels.items())
        before = draft.rows.get(key)
        if before is not None:
            value = max(before.value, value) if most else before.value + value
        elif cap and len(draft.rows) >= MOST_ROWS:
            self.left_out += 1
            return
        known = before.exemplar if before is not None else None
        draft.rows[key] = Sample(key[1], value, suffix, exemplar or known)


def _fits(exemplar: Exemplar) -> bool:
    """Tell whether a trace id may be shown: it came with a request, and may be anything."""
    shown = exemplar.trace_id
    return 0 < len(shown) <= _LONGEST_TRACE and shown.isascii() and shown.isalnum()


def _in_order(kind: Kind, rows: Iterable[Sample]) -> tuple[Sample, ...]:
    # The buckets of one histogram must stand together and rise, which they do as they were put.
    return tuple(rows) if kind == "histogram" else tuple(sorted(rows, key=lambda row: row.labels))
