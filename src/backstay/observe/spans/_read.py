"""Reads files of OTLP in JSON, one document a line, whoever has written them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from backstay.errors import UsageError
from backstay.observe.spans._span import SpanRecord

__all__ = ["MOST_SPANS", "ReadSpans", "read_spans"]

#: Spans that are kept in memory; each has some 500 bytes.
MOST_SPANS: Final = 500_000
_LONGEST_LINE: Final = 64 * 1024 * 1024  # a batch of 512 spans has about 300 kB
_LONGEST_NAME: Final = 200

_KINDS: Final = ("internal", "internal", "server", "client", "producer", "consumer")
_ERROR: Final = (2, "STATUS_CODE_ERROR")

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ReadSpans:
    """What was in some files.

    Attributes:
        spans: in the order of the files.
        broken: lines that are no document of spans: cut ones, or of something else.
        left_out: spans beyond what is kept.
    """

    spans: list[SpanRecord]
    broken: int
    left_out: int


def read_spans(paths: Iterable[Path], *, trace_id: str = "") -> ReadSpans:
    """Read the spans of some files; of a directory, those of all its files that end in ``.jsonl``.

    A line that was cut, or is no such document, is counted and passed by: the last line of a process that was killed
    is one.

    Args:
        paths: of files and directories.
        trace_id: keep the spans of this trace only; "" for all.

    Raises:
        UsageError: a file cannot be read, or none of the lines is a document of spans.
    """
    spans: list[SpanRecord] = []
    broken = left_out = lines = 0
    for file in [one for path in paths for one in _files(path)]:
        for line in _lines(file):
            lines += 1
            try:
                found = [span for span in _spans(line) if not trace_id or span.trace_id == trace_id]
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                broken += 1
                continue
            room = MOST_SPANS - len(spans)
            left_out += max(0, len(found) - room)
            spans += found[:room]
    if lines and broken == lines:
        raise UsageError(
            "none of the lines is a document of spans: expected OTLP in JSON, one document a line, "
            "as backstay.integrations.opentelemetry.write_spans writes it"
        )
    return ReadSpans(spans, broken, left_out)


def _files(path: Path) -> list[Path]:
    try:
        if path.is_dir():
            found = sorted(one for one in path.iterdir() if one.suffix == ".jsonl")
            if not found:
                raise UsageError(f"no file of spans in {str(path)!r}: their names end in .jsonl")
            return found
    except OSError as error:
        raise UsageError(f"cannot read {str(path)!r}: {error.strerror}") from error
    return [path]


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while line := file.readline(_LONGEST_LINE):
                if line.strip():
                    yield line
    except OSError as error:
        raise UsageError(f"cannot read {str(path)!r}: {error.strerror}") from error


def _spans(line: bytes) -> Iterator[SpanRecord]:
    document = cast("Json", json.loads(line))
    for resource in document["resourceSpans"]:
        service = _service(resource.get("resource") or {})
        # What wrote before OTLP 0.19 says "instrumentationLibrarySpans"; nobody does any more.
        for scope in resource.get("scopeSpans") or ():
            for span in scope.get("spans") or ():
                yield _span(span, service)


def _service(resource: Json) -> str:
    for attribute in resource.get("attributes") or ():
        if attribute.get("key") == "service.name":
            return _printable(str(attribute["value"].get("stringValue", "")))
    return "(no service.name)"


def _span(span: Json, service: str) -> SpanRecord:
    start, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
    status = cast("Json", span.get("status") or {})
    failed = status.get("code") in _ERROR
    return SpanRecord(
        trace_id=_identity(span["traceId"], 32),
        span_id=_identity(span["spanId"], 16),
        parent_id=_identity(span.get("parentSpanId") or "", 16),
        service=service,
        name=_printable(str(span.get("name", ""))),
        kind=_kind(span.get("kind", 0)),
        start=start,
        end=max(start, end),  # a clock that was set back in between
        error=_printable(str(status.get("message") or "error")) if failed else "",
    )


def _printable(text: str) -> str:
    """Return what a terminal may be given: names are of whoever has written the file."""
    return "".join(one if one.isprintable() else "?" for one in text[:_LONGEST_NAME])


def _identity(text: str, digits: int) -> str:
    """Return an id in hexadecimal digits, which is what OTLP in JSON has, against the rule of protobuf's JSON."""
    told = text.lower()
    if told and not (len(told) == digits and set(told) <= set("0123456789abcdef")):
        raise ValueError(f"{text[:40]!r} is not an id of {digits} hexadecimal digits")
    return told


def _kind(told: int | str) -> str:
    if isinstance(told, str):
        return told.removeprefix("SPAN_KIND_").lower()
    return _KINDS[told] if 0 <= told < len(_KINDS) else "internal"
