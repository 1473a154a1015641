"""The generator as a process: ``python -m backstay.lab.load.worker``, driven by `run_load`.

The protocol, all in JSON lines:

- stdin: one line with the job (options and workload). Then stdin stays open and
  silent; **its end means that the parent is gone**, and the worker leaves at once.
  A parent that is killed cannot say goodbye, but the kernel closes its pipes.
- stdout: ``{"start": seconds}``, then ``{"second": {...}}`` each second, and
  last ``{"result": {...}}`` or ``{"error": {...}}``. Whatever the workload
  prints goes to stderr.

The job comes by pipe and not as a file or argument, since headers may hold
credentials, and so that nothing is left to clean up.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import json
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, BinaryIO

from backstay.errors import TargetGone, UsageError
from backstay.lab.load._generator import generate
from backstay.lab.load._options import LoadOptions
from backstay.lab.load._priority import Priority, raise_priority
from backstay.lab.load._result import LoadResult
from backstay.lab.load._workload import WorkloadSpec
from backstay.tasks import run

__all__ = ["main"]

_SPARE_FILES = 64
"""File descriptors that the process needs besides its connections."""


def main() -> int:
    """Do the job that stands on stdin; see the module's docstring.

    Returns:
        0 when a result was written, 2 when the job could not be done, 3 without a job.
    """
    stdin, stdout = _take_over_pipes()
    line = stdin.readline()
    if not line:
        return 3  # the parent was gone before it could say what to do
    job: dict[str, Any] = json.loads(line)
    _leave_with_parent(stdin)

    def say(word: str, value: Any) -> None:
        stdout.write(json.dumps({word: value}).encode() + b"\n")
        stdout.flush()

    try:
        result = _measure(
            LoadOptions.from_json(job["options"]), WorkloadSpec.from_json(job["workload"]), say
        )
    except (UsageError, TargetGone) as error:
        say("error", {"kind": type(error).__name__, "message": str(error)})
        return 2
    say("result", result.to_json())
    return 0


def _measure(
    options: LoadOptions, spec: WorkloadSpec, say: Callable[[str, Any], None]
) -> LoadResult:
    workload = spec.load(options.seed)
    _allow_files(options.connections + _SPARE_FILES)
    priority: Priority = raise_priority() if options.priority == "high" else "normal"
    # Collections pause the loop for tens of milliseconds once the lists of a run have grown. A
    # run makes no cycles worth collecting, and the process ends after it.
    gc.collect()
    gc.freeze()
    gc.disable()
    result = run(
        lambda: generate(
            options,
            workload,
            on_start=lambda at: say("start", at),
            progress=lambda record: say("second", record.to_json()),
        ),
        name="load worker",
        loop_factory=_loop_factory(options.loop),
    )
    return _with_priority(result, priority)


def _take_over_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Keep the protocol's pipes for ourselves, and send stray prints to stderr."""
    stdin = os.fdopen(os.dup(0), "rb")
    stdout = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return stdin, stdout


def _leave_with_parent(stdin: BinaryIO) -> None:
    """End the process, whatever it is doing, when stdin ends.

    A thread and no reader on the loop: it also works while the loop is blocked.
    """

    def watch() -> None:
        while stdin.read(1):
            pass
        os._exit(3)

    threading.Thread(target=watch, name="parent watch", daemon=True).start()


def _with_priority(result: LoadResult, priority: Priority) -> LoadResult:
    """Add how the worker was scheduled, and the remedy when that is why it was late."""
    notes = result.notes
    if not result.valid and priority == "normal":
        notes += (
            "the generator was not permitted to run before other processes; "
            "as root, or with CAP_SYS_NICE, it stays punctual on a busy machine",
        )
    return replace(result, priority=priority, notes=notes)


def _allow_files(wanted: int) -> None:
    """Raise the soft limit on file descriptors as far as needed.

    Raises:
        UsageError: the hard limit does not allow it.
    """
    if importlib.util.find_spec("resource") is None:
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{wanted} open files are needed and {hard} are allowed; "
                f"lower connections, or raise `ulimit -n`"
            ) from error


def _loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes the loop; on uvloop the lag is smaller (docs/decisions/0005)."""
    if name == "asyncio" or (name == "auto" and importlib.util.find_spec("uvloop") is None):
        return asyncio.new_event_loop
    try:
        import uvloop
    except ImportError as error:
        raise UsageError(
            "loop is 'uvloop' and the package uvloop is not installed; "
            "install it, or take loop 'asyncio'"
        ) from error
    return uvloop.new_event_loop


if __name__ == "__main__":
    sys.exit(main())
