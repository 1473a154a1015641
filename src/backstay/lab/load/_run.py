"""The driver: runs the generator in a process of its own and never leaves that process behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from backstay.errors import BackstayError, TargetGone, UsageError
from backstay.lab.load._options import LoadOptions
from backstay.lab.load._result import LoadResult, SecondRecord
from backstay.lab.load._workload import WorkloadSpec
from backstay.tasks import Scope

__all__ = ["run_load"]

_LONGEST_LINE_BYTES = 64 * 1024 * 1024
"""The result is one line: seconds, groups and an encoded histogram; a day's run is about 15 MB."""

_ERRORS: dict[str, type[UsageError]] = {"UsageError": UsageError, "TargetGone": TargetGone}


async def run_load(
    options: LoadOptions,
    workload: WorkloadSpec | str,
    *,
    progress: Callable[[SecondRecord], None] | None = None,
    on_start: Callable[[float], None] | None = None,
) -> LoadResult:
    """Offer load from a separate process and return what it found.

    A process of its own keeps the measurement clean: nothing that this program
    draws, polls or collects can make the generator late.

    Args:
        options: what to offer.
        workload: what to request, as a spec or as ``module:Class``.
        progress: called with each second of the run as soon as it is over.
        on_start: called once with the start of the load on `now()`'s clock, about
            50 ms before it, to line up faults with the schedule.

    Returns:
        The result. Look at `valid` before any figure: a run whose generator was
        late is returned, since it is worth reading, but must not be judged.

    Raises:
        TargetGone: nothing listens at the target.
        UsageError: the workload cannot be loaded, failed, or asked for what cannot be sent.
        BackstayError: the worker process died.

    Cancelled:
        The worker is killed and has been waited for; there is no result. Should this
        process itself be killed, the worker ends by itself.

    Cost:
        A process of about 40 MB for the length of the run plus 0.3 s.
    """
    spec = WorkloadSpec(workload) if isinstance(workload, str) else workload
    last_words: deque[str] = deque(maxlen=20)
    answer: dict[str, Any] = {}
    async with Scope("load driver") as scope, _worker() as process:
        scope.go(_keep_last_lines, process, last_words)
        answer = await _converse(process, options, spec, progress, on_start)
    if "result" in answer:
        return LoadResult.from_json(answer["result"])
    if "error" in answer:
        raise _ERRORS[answer["error"]["kind"]](answer["error"]["message"])
    raise BackstayError(
        f"the load worker ended without a result: "
        f"{last_words[-1] if last_words else 'it left no message'}"
    )


@asynccontextmanager
async def _worker() -> AsyncGenerator[Process, None]:
    """Start the worker in a session of its own, so that Ctrl-C reaches it through us alone.

    The end of the block is the end of the process, by SIGKILL if it still runs: a
    load generator has nothing to save.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "backstay.lab.load.worker",
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        limit=_LONGEST_LINE_BYTES,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
    )
    try:
        yield process
    finally:
        await _end(process)


async def _converse(
    process: Process,
    options: LoadOptions,
    spec: WorkloadSpec,
    progress: Callable[[SecondRecord], None] | None,
    on_start: Callable[[float], None] | None,
) -> dict[str, Any]:
    """Hand over the job and read to the last word; empty when the worker died without one."""
    assert process.stdin is not None
    assert process.stdout is not None
    job = {"options": options.to_json(), "workload": spec.to_json()}
    process.stdin.write(json.dumps(job).encode() + b"\n")
    async for line in process.stdout:
        word: dict[str, Any] = json.loads(line)
        if "second" in word:
            if progress is not None:
                progress(SecondRecord.from_json(word["second"]))
        elif "start" in word:
            if on_start is not None:
                on_start(word["start"])
        else:
            return word
    return {}


async def _keep_last_lines(process: Process, last_words: deque[str]) -> None:
    assert process.stderr is not None
    async for line in process.stderr:
        if text := line.decode(errors="replace").strip():
            last_words.append(text)


async def _end(process: Process) -> None:
    """Kill the worker if it still runs, and wait until it is gone, also while being cancelled.

    A killed process is gone within milliseconds, which is why the wait may not be cut short.
    """
    if process.returncode is None:
        # Not process.kill(): that looks whether the process has ended, and so may reap it
        # before asyncio's own watcher does, which then complains of an unknown child.
        with suppress(ProcessLookupError):  # it ended by itself a moment ago
            os.kill(process.pid, signal.SIGKILL)
    cancelled: asyncio.CancelledError | None = None
    while process.returncode is None:
        try:
            await process.wait()
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
