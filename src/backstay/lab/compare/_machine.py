"""Where the experiment runs; figures without it mean nothing."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from backstay.lab.compare._records import Machine

__all__ = ["describe_machine"]


def describe_machine() -> Machine:
    """Return what matters about this machine; parts that cannot be read say so."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    try:
        load = os.getloadavg()[0]
    except OSError:
        load = 0.0
    return Machine(
        cpu=_field("/proc/cpuinfo", "model name") or platform.processor() or "unknown CPU",
        cores=cores,
        memory_mb=int((_field("/proc/meminfo", "MemTotal") or "0").split()[0]) // 1024,
        system=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        load_average=round(load, 2),
    )


def _field(path: str, name: str) -> str:
    """Return the first value called `name` in a "name : value" file of the kernel."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon and key.strip() == name:
            return value.strip()
    return ""
