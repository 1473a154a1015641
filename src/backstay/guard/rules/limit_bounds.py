"""Between which numbers a limit that moves may move."""

from __future__ import annotations

__all__ = ["check_bounds"]


def check_bounds(initial: int, least: int, most: int) -> None:
    """Refuse bounds that leave nothing to move in.

    Raises:
        ValueError: not 1 <= least <= initial <= most.
    """
    if not 1 <= least <= initial <= most:
        raise ValueError(
            f"a limit starts at {initial} and moves between {least} and {most}: "
            f"expected 1 <= least <= initial <= most"
        )
