"""A table of services made from their spans."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from backstay.observe.spans._critical import critical_path
from backstay.observe.spans._span import SpanRecord, Tree, trees

__all__ = ["ServiceRow", "service_table", "table_to_text"]

#: Spans that stand for a request of a service: what it was asked, whoever asked.
_ENTRIES: Final = frozenset({"server", "consumer"})
_WIDEST: Final = 60  # letters of a bottleneck in the terminal


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """What the spans say of one service.

    Attributes:
        service: its name.
        requests: what it was asked: spans of kind server and consumer, and those that begin a trace here.
        spans_each: spans that it has recorded per request, in the mean.
        p50_s: seconds that a request took, in the median.
        p99_s: likewise at the 99th percentile.
        errors: share of requests that failed, 0 to 1.
        bottleneck: the operation that kept its requests longest, as "service: name", on their critical paths.
        bottleneck_share: the part of the requests' time for which it did, 0 to 1.
    """

    service: str
    requests: int
    spans_each: float
    p50_s: float
    p99_s: float
    errors: float
    bottleneck: str
    bottleneck_share: float


@dataclass(slots=True)
class _Sums:
    spans: int = 0
    failed: int = 0
    seconds: list[float] = field(default_factory=list[float])
    kept: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])


def service_table(spans: Iterable[SpanRecord]) -> list[ServiceRow]:
    """Return one row a service, the slowest first by its 99th percentile.

    A request is looked at with all that lies below it, in other services as well: when a service waits for another
    one, that one's operation is its bottleneck.

    Cost: some 6 microseconds a span (60,000 of them, Python 3.11).
    """
    sums: dict[str, _Sums] = defaultdict(_Sums)
    for root in trees(spans):
        for depth, tree in root.walk():
            span = tree.span
            of_service = sums[span.service]
            of_service.spans += 1
            if span.kind in _ENTRIES or depth == 0:
                _count(of_service, tree)
    rows = [_row(service, of_service) for service, of_service in sums.items()]
    return sorted(rows, key=lambda row: (-row.p99_s, row.service))


def _count(sums: _Sums, entry: Tree) -> None:
    sums.seconds.append(entry.span.seconds)
    sums.failed += bool(entry.span.error)
    for piece in critical_path(entry):
        sums.kept[piece.span.service, piece.span.name] += piece.end - piece.start


def _row(service: str, sums: _Sums) -> ServiceRow:
    ordered = sorted(sums.seconds)
    requests = len(ordered)
    (at, name), kept = max(
        sums.kept.items(), key=lambda item: (item[1], item[0]), default=(("", ""), 0)
    )
    whole = sum(sums.kept.values())
    return ServiceRow(
        service=service,
        requests=requests,
        spans_each=sums.spans / requests if requests else 0.0,
        p50_s=_percentile(ordered, 0.5),
        p99_s=_percentile(ordered, 0.99),
        errors=sums.failed / requests if requests else 0.0,
        bottleneck=f"{at}: {name}" if kept else "",
        bottleneck_share=kept / whole if whole else 0.0,
    )


def _percentile(ordered: list[float], share: float) -> float:
    """Return the least value that so large a share does not exceed."""
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def table_to_text(rows: Sequence[ServiceRow]) -> str:
    """Return the table for a terminal."""
    width = max([len("service"), *(len(row.service) for row in rows)])
    head = (
        f"{'service':{width}}  {'requests':>9}  {'spans each':>10}  {'p50':>8}  {'p99':>8}  {'errors':>7}"
        "  main bottleneck"
    )
    lines = [head]
    for row in rows:
        where = row.bottleneck
        if len(where) > _WIDEST:
            where = where[: _WIDEST - 1] + "…"
        lines.append(
            f"{row.service:{width}}  {row.requests:>9,}  {row.spans_each:>10.1f}  {_time(row.p50_s):>8}"
            f"  {_time(row.p99_s):>8}  {row.errors:>7.1%}  {row.bottleneck_share:>4.0%} {where}".rstrip()
        )
    return "\n".join(lines) + "\n"


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"
