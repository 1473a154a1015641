"""Promise: `import backstay` takes at most 60 ms, measured as a multiple of `import asyncio`.

A new process per sample; asyncio is most of the cost, and everybody who wants
Backstay has it anyway, so the ratio is what we can be held to on any machine.
Both are read from byte code, as in a service that was installed, also where the
environment forbids to write any.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from benchmarks.rounds import Figure, interleave, low

ROUNDS = 25

_PROBE = "import time; t = time.process_time(); import {module}; print(time.process_time() - t)"


def _seconds(module: str, byte_code: str) -> float:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", _PROBE.format(module=module)],
        capture_output=True,
        text=True,
        check=True,
        env={**environment, "PYTHONPYCACHEPREFIX": byte_code},
    )
    return float(done.stdout)


def measure() -> list[Figure]:
    """Return the ratio, and the milliseconds for people."""
    with tempfile.TemporaryDirectory() as byte_code:
        _seconds("backstay", byte_code)  # compiles everything that either imports
        samples = interleave(
            {
                "asyncio": lambda: _seconds("asyncio", byte_code),
                "backstay": lambda: _seconds("backstay", byte_code),
            },
            ROUNDS,
        )
    alone, ours = low(samples["asyncio"]), low(samples["backstay"])
    note = f"asyncio alone {alone * 1000:.1f} ms, backstay with it {ours * 1000:.1f} ms of CPU"
    return [Figure("import.ratio", ours / alone, "x", note)]
