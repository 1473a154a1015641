"""The numbers of this process: read when somebody asks, never collected in the background."""

from __future__ import annotations

import dataclasses
import os
import platform
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from typing import Any, cast

from backstay._base import now
from backstay.multiloop import running_multiloops
from backstay.observe.readings import Pulses, loop_kind, rss_bytes
from backstay.tasks import installed_loops, live_tasks

__all__ = [
    "ProcessStatistics",
    "backstay_version",
    "multiloop_statistics",
    "process_statistics",
]


@dataclass(frozen=True, slots=True)
class ProcessStatistics:
    """How a process is doing; the document behind ``/v1/statistics``.

    Attributes:
        pid: process id.
        version: of Backstay.
        python: of the interpreter.
        loop: "asyncio", "uvloop" or another loop's package; None before a loop was made.
        uptime_s: seconds since the admin plane was opened.
        rss_bytes: resident memory; None where the system does not tell.
        tasks: live asyncio tasks on all tracked loops.
        threads: live Python threads.
        loop_lag_s: seconds the slowest loop takes, or has taken so far, to come round.
        ready: whether the process wants traffic.
        requests: the guard's numbers, or None when no guard is installed.
        blocked: how often the loops were blocked, by which lines, and what blocks one
            now; None when nobody watches.
        multiloops: queue lengths, steals, hand-offs and parks of each multiloop.
    """

    pid: int
    version: str
    python: str
    loop: str | None
    uptime_s: float
    rss_bytes: int | None
    tasks: int
    threads: int
    loop_lag_s: float
    ready: bool
    requests: Mapping[str, object] | None
    blocked: Mapping[str, object] | None
    multiloops: tuple[Mapping[str, object], ...]


def process_statistics(
    *,
    started_at: float,
    pulses: Pulses,
    ready: bool,
    requests: Callable[[], object] | None,
    blocked: Callable[[], object] | None = None,
) -> ProcessStatistics:
    """Read the numbers of this process; callable from any thread.

    Args:
        started_at: when it began, seconds on the clock of `now()`.
        pulses: remembers the loops' unanswered questions between two calls.
        ready: whether the process wants traffic.
        requests: returns the guard's statistics (a dataclass or a mapping).
        blocked: returns the statistics of a `Sysmon`.
    """
    loops = installed_loops()
    return ProcessStatistics(
        pid=os.getpid(),
        version=backstay_version(),
        python=platform.python_version(),
        loop=loop_kind(loops[0]) if loops else None,
        uptime_s=round(now() - started_at, 3),
        rss_bytes=rss_bytes(),
        tasks=sum(len(live_tasks(loop)) for loop in loops),
        threads=threading.active_count(),
        loop_lag_s=round(pulses.lag(), 6),
        ready=ready,
        requests=None if requests is None else _plain(requests()),
        blocked=None if blocked is None else _without_stacks(_plain(blocked())),
        multiloops=multiloop_statistics(),
    )


def multiloop_statistics() -> tuple[Mapping[str, object], ...]:
    """Return the queues, steals, hand-offs and parks of each multiloop; callable from any thread."""
    return tuple(dataclasses.asdict(pool.statistics()) for pool in running_multiloops())


def _without_stacks(blocked: Mapping[str, object] | None) -> Mapping[str, object] | None:
    """Keep the stack of what blocks now; those of the past would be most of the document."""
    if blocked is None or "recent" not in blocked:
        return blocked
    recent = cast("Iterable[dict[str, object]]", blocked["recent"])
    short = [{key: one[key] for key in one if key != "stack"} for one in recent]
    return {**blocked, "recent": short}


@lru_cache(maxsize=1)
def backstay_version() -> str:
    """Return the version of the installed distribution."""
    try:
        return metadata.version("backstay")
    except metadata.PackageNotFoundError:
        return "unknown"  # run from a source tree that was never installed


def _plain(record: object) -> Mapping[str, object] | None:
    if record is None:
        return None
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return dataclasses.asdict(record)
    if isinstance(record, Mapping):
        fields: dict[Any, Any] = dict(cast("Any", record))
        return {str(name): value for name, value in fields.items()}
    raise TypeError(f"requests() returned {type(record).__name__}, not a dataclass or a mapping")
