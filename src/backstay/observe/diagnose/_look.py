"""One look at a process: the documents of its admin plane, read with care.

A target may be older or younger than whoever diagnoses it, so that what is missing is
empty here and no error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

__all__ = ["Document", "Look", "rows", "words"]

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Look:
    """What a process said of itself at one moment.

    Attributes:
        tasks: the answer of ``/v1/ps``.
        statistics: of ``/v1/statistics``.
        guards: of ``/v1/guards``.
        figures: process-wide numbers by name, of ``/metrics?json=1``.
    """

    tasks: Document = field(default_factory=dict[str, Any])
    statistics: Document = field(default_factory=dict[str, Any])
    guards: Document = field(default_factory=dict[str, Any])
    figures: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def at(self) -> float:
        """When it was taken, in unix seconds of the target's clock."""
        return float(self.tasks.get("taken_at") or 0.0)

    @property
    def blocked(self) -> Document:
        """What is known of blocked loops; empty when nobody watches them."""
        found = self.statistics.get("blocked")
        return cast("Document", found) if isinstance(found, Mapping) else {}


def rows(document: Document, name: str) -> list[Document]:
    """Return the list of documents under `name`; empty when there is none."""
    found = document.get(name)
    listed = cast("Iterable[object]", found) if isinstance(found, list | tuple) else ()
    return [cast("Document", one) for one in listed if isinstance(one, Mapping)]


def words(value: object) -> tuple[str, ...]:
    """Return a list of texts as such; empty when it is something else."""
    listed = cast("Iterable[object]", value) if isinstance(value, list | tuple) else ()
    return tuple(str(one) for one in listed if one)
