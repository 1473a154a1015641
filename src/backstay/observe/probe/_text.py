"""The hits of a probe, for people."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

__all__ = ["ending_to_text", "hit_to_text"]

_WHY = {
    "hits": "it has been hit often enough",
    "time": "its time is over",
    "asked": "it was taken away",
    "nobody asks": "nobody asked for its hits any more",
    "failed": "its hits could not be recorded",
}


def hit_to_text(hit: Mapping[str, Any], *, stack: bool = True) -> str:
    """Render one hit, with a line feed at the end.

    Args:
        hit: of the document.
        stack: with the calls that lead there.
    """
    when = datetime.fromtimestamp(hit["at"]).astimezone().strftime("%H:%M:%S.%f")[:-3]
    who = hit["task"] or f"no task, thread {hit['thread']}"
    parts = [f"{when}  {who}"]
    if hit["owner"]:
        parts.append("owner " + " > ".join(hit["owner"]))
    if hit["site"]:
        parts.append(f"started at {hit['site']}")
    if hit["trace_id"]:
        parts.append(f"trace {hit['trace_id']}")
    lines = ["  ".join(parts)]
    lines += [f"    {name} = {value}" for name, value in hit["values"].items()]
    if stack:
        lines += [f"      {step}" for step in reversed(hit["stack"])]
    return _printable("\n".join(lines)) + "\n"


def ending_to_text(document: Mapping[str, Any]) -> str:
    """Render why a probe has ended, with a line feed at the end."""
    why = _WHY.get(document["ended"], document["ended"] or "it is still set")
    more = f", {document['skipped']} more beyond the rate" if document["skipped"] else ""
    return _printable(f"{document['hit']} hits{more}; the probe is gone: {why}") + "\n"


def _printable(text: str) -> str:
    """Show what could steer a terminal as a question mark: names and values are the program's."""
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in text)
