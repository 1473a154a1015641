"""Become the command given, after asking the kernel to end us when the lab ends.

Run as a file with a bare interpreter (`python -I -S _launch.py PARENT COMMAND...`).
Why a shim and not `preexec_fn`: that runs Python between fork and exec, which
may deadlock in a process with threads and warns from Python 3.12 on. An exec
keeps the parent-death signal, so the command inherits it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # from linux/prctl.h


def launch(parent: int, command: list[str]) -> None:
    """Replace this process by `command`; return only by exiting.

    Args:
        parent: pid of the lab; when it is gone already, so are we.
        command: program and arguments.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        # The lab may have died before the kernel knew of our wish.
        if os.getppid() != parent:
            os._exit(1)
    try:
        os.execvp(command[0], command)  # noqa: S606  a shell would be one more process to end
    except OSError as error:
        print(f"cannot start {command[0]!r}: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(127)


if __name__ == "__main__":
    launch(int(sys.argv[1]), sys.argv[2:])
