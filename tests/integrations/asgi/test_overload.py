"""A real server process under twice and nine times its capacity, with and without an admission.

The promise is measured by `benchmarks/overload.py`; here its server is run for a short
while and held to bounds that also a busy machine keeps.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backstay.lab.load import LoadOptions, LoadResult, run_load, url_workload

pytestmark = [pytest.mark.real_loop, pytest.mark.slow]

ROOT = Path(__file__).parent.parent.parent.parent
CAPACITY = 300  # a second: less than a handler of 2 ms has on any machine that we know
PATIENCE_S = 0.5


@contextmanager
def server(variant: str) -> Iterator[subprocess.Popen[str]]:
    """Serve the handler of 2 ms of processor time and 5 ms of waiting."""
    command = [sys.executable, "-m", "benchmarks.overload", "serve", variant, "asyncio"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.kill()


async def offer(variant: str, path: str, rate: float) -> tuple[LoadResult, float]:
    """Offer load for three seconds; return the result, and good answers per CPU second of the server."""
    with server(variant) as process:
        assert process.stdout is not None
        base = f"http://127.0.0.1:{int(process.stdout.readline())}"
        options = LoadOptions(
            base, rate=rate, duration_s=3.0, timeout_s=PATIENCE_S, connections=2000
        )
        result = await run_load(options, url_workload(base + path)[1])
        stat = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8")
        user, system = stat.rpartition(")")[2].split()[11:13]
        cpu_s = (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    return result, result.overall.ok / cpu_s


@pytest.mark.parametrize("variant", ["admission", "door"])
async def test_under_overload_what_can_be_done_is_done_in_time(variant: str) -> None:
    """Each CPU second goes into good answers; without control nearly none is in time."""
    result, per_cpu_s = await offer(variant, "/", 4 * CAPACITY)
    bare, bare_per_cpu_s = await offer("bare", "/", 4 * CAPACITY)
    assert (
        per_cpu_s > 100
    )  # of at most 480, less what starting the process and busy neighbours take
    assert bare_per_cpu_s < 0.4 * per_cpu_s
    assert bare.overall.ok < 0.4 * result.overall.ok
    assert result.overall.latency_ok.p99_s < PATIENCE_S
    assert result.overall.errors.get("timeout", 0) < 0.2 * result.overall.requests


async def test_a_healthy_load_is_hardly_refused() -> None:
    """200 ms of waiting each, from a cold start."""
    result, _ = await offer("admission", "/io", CAPACITY)
    assert result.overall.errors.get("503", 0) <= 0.05 * result.overall.requests
