"""The process itself: memory, descriptors, threads, processor time, and the garbage collector."""

from __future__ import annotations

import gc
import os
import platform
import threading
import time
from functools import lru_cache

from backstay._base import wall
from backstay.observe.metrics._families import Page
from backstay.observe.metrics._gc_pauses import GcPauses
from backstay.observe.readings import rss_bytes

__all__ = ["put_garbage_collector", "put_process", "started_at"]


def put_process(page: Page, version: str) -> None:
    """Put what the system tells of this process; what it does not tell is left out."""
    page.info(
        "backstay_build",
        "Versions of what runs here.",
        version=version,
        python=platform.python_version(),
        implementation=platform.python_implementation(),
    )
    page.gauge("backstay_process_resident_bytes", "Resident memory.", rss_bytes())
    spent = time.process_time()
    page.counter("backstay_process_cpu_seconds", "Processor time of all threads.", spent)
    page.gauge("backstay_process_threads", "Living Python threads.", threading.active_count())
    page.gauge("backstay_process_open_fds", "Open file descriptors.", _open_fds())
    page.gauge("backstay_process_max_fds", "File descriptors that it may open.", _max_fds())
    page.gauge(
        "backstay_process_start_time_seconds", "Unix time of its start.", started_at(os.getpid())
    )


def put_garbage_collector(page: Page, pauses: GcPauses) -> None:
    """Put what the garbage collector has done, and for how long it has held everybody up."""
    for generation, told in enumerate(gc.get_stats()):
        page.counter(
            "backstay_gc_collections",
            "Collections of the garbage collector.",
            told["collections"],
            generation=generation,
        )
        page.counter(
            "backstay_gc_uncollectable",
            "Objects that it found and could not free.",
            told["uncollectable"],
            generation=generation,
        )
    for generation, seconds in enumerate(pauses.seconds):
        page.counter(
            "backstay_gc_pause_seconds",
            "Time for which it has held the process up.",
            seconds,
            generation=generation,
        )
        page.gauge(
            "backstay_gc_longest_pause_seconds",
            "The longest of its pauses so far.",
            pauses.longest[generation],
            generation=generation,
        )


def _open_fds() -> int | None:
    for place in ("/proc/self/fd", "/dev/fd"):
        try:
            return len(os.listdir(place)) - 1  # the one that lists them
        except OSError:
            continue
    return None


def _max_fds() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


@lru_cache(maxsize=1)
def started_at(pid: int) -> float | None:
    """Return the unix time at which a process began; None where the system does not tell."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])
        with open("/proc/uptime", "rb") as file:
            uptime = float(file.read().split()[0])
    except (OSError, IndexError, ValueError):
        return None  # not Linux
    return round(wall() - uptime + ticks / os.sysconf("SC_CLK_TCK"), 2)
