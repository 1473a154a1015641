"""Which admin sockets belong to workers of the same service."""

from __future__ import annotations

import os
from pathlib import Path

from backstay.observe.target import default_directory

__all__ = ["siblings"]

#: Sockets of a directory that are looked at; a host with more processes of one user names them itself.
_MOST = 1000


def siblings() -> list[Path]:
    """Return the admin sockets of this process and of those that the same parent has started beside it.

    They are looked for in the standard directory. Siblings have the same parent and the same process group,
    as the workers of uvicorn, gunicorn and hypercorn have; two services started by one script without job
    control look the same, so name the sockets where that is so.

    Returns:
        Paths, by pid; without those whose process is gone. Empty where there is no ``/proc``.
    """
    mine = _family(os.getpid())
    if mine is None:
        return []
    try:
        names = sorted(os.listdir(default_directory()))[:_MOST]
    except OSError:
        return []
    stems = [name.removesuffix(".sock") for name in names if name.endswith(".sock")]
    pids = sorted(int(stem) for stem in stems if stem.isdecimal())
    return [default_directory() / f"{pid}.sock" for pid in pids if _family(pid) == mine]


def _family(pid: int) -> tuple[bytes, bytes] | None:
    """Return parent and process group; None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()  # a name may hold anything
        return fields[1], fields[2]
    except (OSError, IndexError):
        return None
