"""How the findings name files, and which of them are our own."""

from __future__ import annotations

import os

__all__ = ["is_ours", "relative"]

_HOUSE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def relative(place: str) -> str:
    """Return a path, or "path:line", relative to the working directory when inside it."""
    try:
        here = os.getcwd() + os.sep
    except OSError:
        return place  # the working directory was removed
    return place.removeprefix(here)


def is_ours(file: str) -> bool:
    """Tell whether a file belongs to Backstay; its tasks are counted and never accused."""
    return file.startswith(_HOUSE)
