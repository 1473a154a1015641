"""What goes back to a client of the admin plane."""

from __future__ import annotations

import json
from dataclasses import dataclass

__all__ = ["Reply", "as_json", "refusal"]


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, body and what the plane's own headers do not say."""

    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


def as_json(document: object, status: int = 200) -> Reply:
    """Return a document as JSON; what JSON does not know becomes a string."""
    body = json.dumps(document, default=str, separators=(",", ":")).encode() + b"\n"
    return Reply(status, "application/json", body)


def refusal(status: int, reason: str) -> Reply:
    """Return a refusal: one sentence that says what was seen, what is expected, what to do."""
    return as_json({"error": reason}, status)
