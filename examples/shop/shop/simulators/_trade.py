"""What an outsider does for a living, apart from how it misbehaves."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import islice
from typing import Generic, NamedTuple, Protocol, TypeVar

from shop.simulators._script import Script

R = TypeVar("R")

# A day at the demo's pace fits; beyond, the oldest entries are only counted.
LEDGER_LIMIT = 500_000


class Reply(NamedTuple):
    """What to answer. `changed` = this request altered the ledger."""

    status: int
    document: object
    changed: bool = False


class Trade(Protocol):
    """The business of a simulator: pure bookkeeping, no waiting, no misbehaviour."""

    name: str

    def handle(
        self, method: str, path: str, body: bytes, script: Script, dice: random.Random
    ) -> Reply:
        """Do what the request asks for and say what to answer."""
        ...

    def ledger(self) -> dict[str, object]:
        """Everything that really happened."""
        ...

    def summary(self) -> dict[str, int]:
        """Counts of it."""
        ...


class Ledger(Generic[R]):
    """Entries by id, oldest first, at most `limit` of them."""

    def __init__(self, limit: int = LEDGER_LIMIT) -> None:
        self._limit = limit
        self._entries: dict[str, R] = {}
        self.dropped = 0  # entries no longer kept

    def get(self, key: str) -> R | None:
        """The entry, or None."""
        return self._entries.get(key)

    def put(self, key: str, entry: R) -> None:
        """Add or replace an entry; drops the oldest tenth when full."""
        if key not in self._entries and len(self._entries) >= self._limit:
            # Many at once: taking a dict's first entry again and again walks over the holes.
            for oldest in list(islice(self._entries, max(1, self._limit // 10))):
                del self._entries[oldest]
                self.dropped += 1
        self._entries[key] = entry

    def items(self) -> Iterator[tuple[str, R]]:
        """All kept entries, oldest first."""
        return iter(self._entries.items())

    def values(self) -> Iterator[R]:
        """All kept entries without their ids."""
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)


class BadRequest(Exception):
    """The request makes no sense; the message says why."""


class Fields:
    """A JSON request body whose fields are asked for by name and type.

    Raises:
        BadRequest: not a JSON object.
    """

    def __init__(self, body: bytes) -> None:
        try:
            document = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise BadRequest(f"the body is not JSON: {error}") from error
        if not isinstance(document, dict):
            raise BadRequest("the body is not a JSON object")
        self._fields: dict[str, object] = document

    def text(self, name: str, default: str | None = None) -> str:
        """A non-empty string of at most 200 characters.

        Raises:
            BadRequest: missing (without default), or something else.
        """
        value = self._fields.get(name, default)
        if not isinstance(value, str) or not 0 < len(value) <= 200:
            raise BadRequest(f"{name} is {value!r}, expected a string of 1 to 200 characters")
        return value

    def positive(self, name: str) -> int:
        """A whole number above zero.

        Raises:
            BadRequest: missing, or something else.
        """
        value = self._fields.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            raise BadRequest(f"{name} is {value!r}, expected a whole number above 0")
        return value


NOT_FOUND = Reply(404, {"error": "no such resource"})
