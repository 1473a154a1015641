"""Functions for worker processes, which have to be importable there."""

from __future__ import annotations

import os
import signal
import time

__all__ = ["add", "die", "kill_myself", "pid", "refuse", "slow"]


def add(a: int, b: int) -> int:
    """Add."""
    return a + b


def pid() -> int:
    """Tell the process."""
    return os.getpid()


def die() -> None:
    """End the process as a crash does."""
    os._exit(3)


def kill_myself() -> None:
    """End the process as the kernel does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def refuse() -> None:
    """Raise."""
    raise ValueError("refused")


def slow(seconds: float) -> float:
    """Block."""
    time.sleep(seconds)
    return seconds
