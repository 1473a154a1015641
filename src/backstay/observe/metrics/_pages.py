"""Families as a document and back, and the pages of several processes side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any, get_args

from backstay.observe.metrics._families import Exemplar, Family, Kind, Sample

__all__ = ["from_document", "side_by_side", "to_document"]


def to_document(families: Iterable[Family]) -> list[dict[str, Any]]:
    """Return families as JSON has them."""
    return [asdict(family) for family in families]


def from_document(document: Any) -> list[Family]:
    """Read what `to_document` has made, perhaps in another process.

    Raises:
        ValueError: it is something else.
    """
    try:
        return [_family(one) for one in document]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"this is no document of metrics: {error!r}") from error


def side_by_side(label: str, pages: Mapping[str, Iterable[Family]]) -> list[Family]:
    """Put several pages into one: each row gets the name of its page as a label.

    Args:
        label: its name.
        pages: by name. Of a family with different texts, as of two versions, the first counts.
    """
    joined: dict[str, Family] = {}
    for page, families in pages.items():
        for family in families:
            rows = tuple(
                replace(row, labels=((label, page), *row.labels)) for row in family.samples
            )
            known = joined.setdefault(family.name, replace(family, samples=()))
            if known.kind == family.kind:
                joined[family.name] = replace(known, samples=(*known.samples, *rows))
    return list(joined.values())


def _family(one: Mapping[str, Any]) -> Family:
    kind: Kind = one["kind"]
    if kind not in get_args(Kind):
        raise TypeError(f"a family of kind {kind!r}")
    return Family(
        name=str(one["name"]),
        kind=kind,
        help=str(one["help"]),
        unit=str(one["unit"]),
        samples=tuple(_sample(row) for row in one["samples"]),
    )


def _sample(row: Mapping[str, Any]) -> Sample:
    case = row["exemplar"]
    return Sample(
        labels=tuple((str(name), str(value)) for name, value in row["labels"]),
        value=_number(row["value"]),
        suffix=str(row["suffix"]),
        exemplar=None
        if case is None
        else Exemplar(str(case["trace_id"]), _number(case["value"]), case["at"]),
    )


def _number(value: Any) -> float:
    if not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return value
