"""Resident memory, as the system tells it."""

from __future__ import annotations

import os

__all__ = ["rss_bytes"]


def rss_bytes() -> int | None:
    """Return the resident memory of this process; None where the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as file:
            pages = int(file.read().split()[1])
    except (OSError, IndexError, ValueError):
        return None  # not Linux
    return pages * os.sysconf("SC_PAGE_SIZE")
