"""Families as the two texts that scrapers read, and which of them a scraper wants.

OpenMetrics 1.0 (https://prometheus.io/docs/specs/om/open_metrics_spec/) carries exemplars; the older text
of Prometheus, version 0.0.4, is what everything reads. Both are a line for each row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from backstay.observe.metrics._families import Exemplar, Family, Labels, Sample

__all__ = ["OPENMETRICS", "PLAIN_TEXT", "encode", "openmetrics", "plain_text", "wanted"]

OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PLAIN_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"

#: Ranges of an Accept header that are read; a scraper sends four.
_MOST_RANGES: Final = 20
_Q = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")


def encode(families: Iterable[Family], accept: str = "") -> tuple[str, bytes]:
    """Return the content type and the text that somebody who accepts `accept` wants."""
    kind = wanted(accept)
    text = openmetrics(families) if kind == OPENMETRICS else plain_text(families)
    return kind, text.encode("utf-8", "replace")


def wanted(accept: str) -> str:
    """Return the content type for the Accept header of a request; plain text unless told otherwise."""
    best, chosen = 0.0, PLAIN_TEXT
    for one in accept.split(",")[:_MOST_RANGES]:
        found = _range(one)
        if found is not None and found.q > best and (kind := found.serves()) is not None:
            best, chosen = found.q, kind
    return chosen


@dataclass(frozen=True, slots=True)
class _Range:
    """One part of an Accept header."""

    media: str
    version: str
    q: float

    def serves(self) -> str | None:
        """Return which of our texts fits, or None."""
        if self.media == "application/openmetrics-text":
            return OPENMETRICS if self.version in ("", "1.0.0", "0.0.1") else None
        if self.media in ("text/plain", "text/*", "*/*"):
            return PLAIN_TEXT if self.version in ("", "0.0.4") else None
        return None


def _range(text: str) -> _Range | None:
    media, *parameters = (part.strip() for part in text.split(";"))
    version, q = "", 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "version":
            version = value.strip().strip('"')
        elif name.strip().lower() == "q":
            if not _Q.fullmatch(value.strip()):
                return None
            q = float(value)
    return _Range(media.lower(), version, q)


def openmetrics(families: Iterable[Family]) -> str:
    """Return the text of OpenMetrics 1.0, exemplars included."""
    lines: list[str] = []
    for family in families:
        lines.append(f"# TYPE {family.name} {family.kind}")
        if family.unit:
            lines.append(f"# UNIT {family.name} {family.unit}")
        lines.append(f"# HELP {family.name} {_escaped(family.help)}")
        for sample in family.samples:
            exemplar = _exemplar(sample.exemplar) if sample.exemplar is not None else ""
            lines.append(_row(family.name, sample) + exemplar)
    lines.append("# EOF\n")
    return "\n".join(lines)


def plain_text(families: Iterable[Family]) -> str:
    """Return the text of Prometheus, version 0.0.4; it knows no exemplars and no infos."""
    return "".join(f"{line}\n" for family in families for line in _plain(family))


def _plain(family: Family) -> Iterator[str]:
    ends = {"counter": "_total", "info": "_info"}.get(family.kind, "")
    name, kind = family.name + ends, "gauge" if family.kind == "info" else family.kind
    text = family.help.replace("\\", r"\\").replace("\n", r"\n")
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    for sample in family.samples:
        yield _row(family.name, sample)


def _row(name: str, sample: Sample) -> str:
    return f"{name}{sample.suffix}{_braced(sample.labels)} {_number(sample.value)}"


def _braced(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    """Show whole numbers as such, and others as they are."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return repr(value)


def _exemplar(exemplar: Exemplar) -> str:
    at = "" if exemplar.at is None else f" {exemplar.at:.3f}"
    return f' # {{trace_id="{_escaped(exemplar.trace_id)}"}} {_number(exemplar.value)}{at}'
