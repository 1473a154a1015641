"""What goes back to a client of the admin plane."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

__all__ = ["Reply", "as_json", "encode_json", "refusal"]

#: How deep a document may be: ours have six levels; what is deeper is somebody's statistics gone wrong.
_DEEPEST = 50


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, body and what the plane's own headers do not say."""

    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


def as_json(document: object, status: int = 200) -> Reply:
    """Return a document as JSON; what JSON does not know becomes a string."""
    return Reply(status, "application/json", encode_json(document))


def encode_json(document: object) -> bytes:
    """Return a document as a line of JSON that every reader takes.

    What JSON does not know becomes a string, and a number that is none (infinite, or NaN) null:
    Python would write words that no browser reads.

    Raises:
        ValueError: it holds itself, or is deeper than any document.
    """
    try:
        text = json.dumps(document, default=str, separators=(",", ":"), allow_nan=False)
    except ValueError:
        text = json.dumps(_plain(document, _DEEPEST), default=str, separators=(",", ":"))
    return text.encode() + b"\n"


def _plain(value: object, depth: int) -> object:
    if not depth:
        raise ValueError(f"a document is deeper than {_DEEPEST} levels, or holds itself")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        pairs = cast("Mapping[object, object]", value).items()
        return {name: _plain(one, depth - 1) for name, one in pairs}
    if isinstance(value, list | tuple):
        return [_plain(one, depth - 1) for one in cast("list[object]", value)]
    return value


def refusal(status: int, reason: str) -> Reply:
    """Return a refusal: one sentence that says what was seen, what is expected, what to do."""
    return as_json({"error": reason}, status)
