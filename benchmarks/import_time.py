"""Promise: `import backstay` takes at most 60 ms, measured as a multiple of `import asyncio`.

A new process per sample; asyncio is most of the cost, and everybody who wants
Backstay has it anyway, so the ratio is what we can be held to on any machine.
"""

from __future__ import annotations

import subprocess
import sys

from benchmarks.rounds import Figure, interleave, low

ROUNDS = 25

_PROBE = "import time; t = time.process_time(); import {module}; print(time.process_time() - t)"


def _seconds(module: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", _PROBE.format(module=module)],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def measure() -> list[Figure]:
    """Return the ratio, and the milliseconds for people."""
    samples = interleave(
        {"asyncio": lambda: _seconds("asyncio"), "backstay": lambda: _seconds("backstay")}, ROUNDS
    )
    alone, ours = low(samples["asyncio"]), low(samples["backstay"])
    note = f"asyncio alone {alone * 1000:.1f} ms, backstay with it {ours * 1000:.1f} ms of CPU"
    return [Figure("import.ratio", ours / alone, "x", note)]
