"""Outlive the lab by a moment: when it is gone, end its processes and remove its folders.

Run as a file with a bare interpreter. It reads orders from standard input and
acts when that ends, which happens however the lab ends, `kill -9` included:

    group PID     this process group is the lab's
    forget PID    it has ended
    folder PATH   this folder is temporary
    dropped PATH  it has been removed

The parent-death signal of `_launch` reaches only direct children and only on
Linux; this reaches whole groups, everywhere.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from typing import TextIO


def guard(orders: TextIO) -> None:
    """Read orders until the lab is gone, then clean up after it.

    Args:
        orders: the lab's end of a pipe.
    """
    # A Ctrl-C in the terminal is for the lab; we are needed after it.
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    groups: set[int] = set()
    folders: set[str] = set()
    for line in orders:
        order, _, value = line.rstrip("\n").partition(" ")
        if order == "group":
            groups.add(int(value))
        elif order == "forget":
            groups.discard(int(value))
        elif order == "folder":
            folders.add(value)
        elif order == "dropped":
            folders.discard(value)
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    for _ in range(20):
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        if not any(os.path.exists(folder) for folder in folders):
            break
        time.sleep(0.05)  # a dying process may still have put a file there


if __name__ == "__main__":
    guard(sys.stdin)
