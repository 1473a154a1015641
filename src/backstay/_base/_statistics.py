"""What `statistics()` promises."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

__all__ = ["HasStatistics"]


@runtime_checkable
class HasStatistics(Protocol):
    """Anything long-lived that can say how it is doing.

    `statistics()` returns a frozen record of plain values; every metric, dump
    and report is built on that one method, so what a test can see is what
    production shows.
    """

    def statistics(self) -> object:
        """Return a frozen dataclass of plain values, cheap enough to call each second."""
        ...
