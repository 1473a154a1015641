"""Which way into a process is taken: the gentlest that there is, and never one that was not asked for.

1. The admin plane that it has opened (that is not this room's business: `AdminClient`).
2. Python's own door, `sys.remote_exec`, where both sides run 3.14 or later.
3. Injection, only when asked for.
4. Reading its memory from outside with py-spy, where that is installed: threads only, no tasks.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any

from backstay._base import now
from backstay.errors import TargetGone, UsageError
from backstay.observe.attach._attach import Call, inject, load_call, look_call, program
from backstay.observe.attach._process import examine
from backstay.observe.attach._reply import ReplyFile

__all__ = ["attach", "look"]

_HINT = "add --inject to have its own Python tell (it is stopped a few times for well under a millisecond)"


def look(pid: int, *, injecting: bool, patience: float) -> dict[str, Any]:
    """Return the tasks of a process without a plane, by the gentlest way that there is.

    Args:
        pid: the process.
        injecting: whether it may be entered by injection.
        patience: seconds that it may take.

    Returns:
        The document of `look_at`, or ``{"threads": text}`` of py-spy; in both ``way`` says how it was made.

    Raises:
        UsageError: there is no way, or the one there is was refused.
        TargetGone: it has ended or did not come round.
    """
    try:
        return _enter(pid, look_call, injecting=injecting, patience=patience)
    except (
        UsageError
    ) as error:  # TargetGone, too: a stuck interpreter is what py-spy can still read
        found = _py_spy(pid, patience)
        if found is None:
            raise
        return {"pid": pid, "way": f"read from outside with py-spy ({error})", "threads": found}


def attach(
    pid: int, *, injecting: bool, patience: float, options: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Load Backstay into a process and open its admin plane, by the gentlest way that there is.

    Args:
        pid: the process.
        injecting: whether it may be entered by injection.
        patience: seconds that it may take.
        options: of `AdminServer`; plain values.

    Returns:
        `address`, `loops`, `tracked`, `backstay` and ``way``.

    Raises:
        UsageError: there is no way, or the one there is was refused.
        TargetGone: it has ended or did not come round.
    """
    return _enter(pid, load_call(options or {}), injecting=injecting, patience=patience)


def _enter(pid: int, call: Call, *, injecting: bool, patience: float) -> dict[str, Any]:
    if hasattr(sys, "remote_exec"):
        target = examine(pid)
        if target.version[:2] == sys.version_info[:2]:
            return {**_remote_exec(pid, call, patience), "way": "Python's own sys.remote_exec"}
    if not injecting:
        if not os.path.exists(f"/proc/{pid}"):
            raise TargetGone(f"no process with pid {pid}: it has ended, or the number is wrong")
        raise UsageError(f"process {pid} runs without an admin plane: {_HINT}")
    found = inject(pid, call, patience)
    how = (
        "while its loop was waiting"
        if found["injection"]["way"] == "lock"
        else "between two bytecodes"
    )
    return {**found, "way": f"injected {how}"}


def _remote_exec(pid: int, call: Call, patience: float) -> dict[str, Any]:
    """Use the door of PEP 768. No interpreter to try it with was at hand: written after its documentation."""
    with ReplyFile(pid) as reply, tempfile.NamedTemporaryFile("w", suffix=".py") as script:
        script.write(program(call(reply.path)))
        script.flush()
        os.chmod(script.name, 0o644)  # nothing secret in it, and the process may be another user's
        enter: Any = getattr(sys, "remote_exec")  # noqa: B009 - older Pythons do not have it
        try:
            enter(pid, script.name)
        except (OSError, RuntimeError) as error:
            raise UsageError(
                f"process {pid} cannot be entered by sys.remote_exec: {error}"
            ) from error
        until = now() + patience
        while not reply.complete():
            if now() > until:
                raise TargetGone(f"process {pid} did not come round within {patience:g} s")
            time.sleep(1e-3)
        return reply.read()


def _py_spy(pid: int, patience: float) -> str | None:
    """Return what py-spy sees of the threads; None where it is not installed or sees nothing."""
    program_file = shutil.which("py-spy")
    if program_file is None:
        return None
    try:
        done = subprocess.run(
            [program_file, "dump", "--pid", str(pid)],
            capture_output=True, text=True, timeout=max(1.0, patience), check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
