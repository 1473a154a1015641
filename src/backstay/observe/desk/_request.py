"""A request to the admin plane, after it was understood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Request"]


@dataclass(frozen=True, slots=True)
class Request:
    """A request that was understood.

    Attributes:
        path: without the query.
        query: its fields; of one that is given twice, the last.
        host: the header ``Host``.
        accept: the header ``Accept``.
        method: "GET", or "POST" for what acts.
        headers: all of them, by their names in small letters.
        body: of a POST; at most 64 KiB.
    """

    path: str
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    host: str = ""
    accept: str = ""
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""

    def switch(self, name: str) -> bool:
        """Tell whether the query has `name` switched on (`1`, `true` or `yes`)."""
        return self.query.get(name, "").lower() in {"1", "true", "yes"}
