"""A load result as plain text."""

from __future__ import annotations

from ._result import LoadResult

__all__ = ["to_text"]


def to_text(result: LoadResult) -> str:
    """Return the result as a table of plain text that fits a terminal of 80 columns."""
    raise NotImplementedError
