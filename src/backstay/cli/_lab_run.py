"""Run a lab experiment until it ends or a signal ends it, and say which."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

from backstay.tasks import run

__all__ = ["Interrupted", "run_experiment"]

T = TypeVar("T")

_SIGTERM_EXIT = 143  # 128 + 15, as shells count


class Interrupted(Exception):
    """A signal ended the experiment; `code` is the exit code to leave with."""

    def __init__(self, code: int) -> None:
        """Keep the exit code."""
        super().__init__(f"interrupted, exit code {code}")
        self.code = code


def run_experiment(main: Callable[[], Awaitable[T]]) -> T:
    """Run an experiment in a root scope that Ctrl-C and SIGTERM cancel.

    Raises:
        Interrupted: a signal ended it; everything it had started is gone.
    """
    try:
        return run(main, name="lab")
    except (SystemExit, KeyboardInterrupt) as end:
        # A clean stop by SIGTERM is success for a service; for an experiment it is no verdict.
        code = end.code if isinstance(end, SystemExit) and end.code else _SIGTERM_EXIT
        if isinstance(end, KeyboardInterrupt):
            code = 130
        print("interrupted: no verdict; nothing is left running", file=sys.stderr)
        raise Interrupted(code if isinstance(code, int) else 1) from None
