"""Load with real sockets and real processes, including how they end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backstay.errors import BackstayError, TargetGone, UsageError
from backstay.lab.calibrate import KneeGoal, KneePlan, find_knee
from backstay.lab.load import LoadOptions, SecondRecord, WorkloadSpec, run_load, url_workload

pytestmark = pytest.mark.slow

SERVER = Path(__file__).with_name("stalling_server.py")


@contextmanager
def service(stall_at_s: float = 0.0, stall_for_s: float = 0.0) -> Iterator[str]:
    """Run the stalling service and give its address."""
    command = [sys.executable, str(SERVER), str(stall_at_s), str(stall_for_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def workers(parent: int) -> set[int]:
    """Return the load workers that this process has started and that are alive."""
    found: set[int] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
                state, ppid = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if b"backstay.lab.load.worker" in command and state != "Z" and int(ppid) == parent:
                found.add(int(entry.name))
    return found


def alive(pid: int) -> bool:
    """Say whether a process runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def is_gone_within(pid: int, patience_s: float) -> bool:
    """Wait for the end of a process that is not our child."""
    give_up_at = time.monotonic() + patience_s
    while alive(pid):
        if time.monotonic() > give_up_at:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.real_loop
async def test_a_run_reports_live_and_in_the_end() -> None:
    """Seconds arrive while it runs, the start is told, and the sums agree."""
    seen: list[SecondRecord] = []
    started: list[float] = []
    with service() as base:
        _, spec = url_workload(f"{base}/x", method="POST", body="{}")
        found = await run_load(
            LoadOptions(base, rate=200, duration_s=2.0, seed=3),
            spec,
            progress=seen.append,
            on_start=started.append,
        )
    assert tuple(seen) == found.seconds
    assert started == [found.started_at]
    assert found.overall.requests == found.planned == sum(record.done for record in seen)
    assert found.overall.failed == 0
    assert found.overall.latency.p50_s < 0.1
    assert found.cpu_s_per_request < 0.002


@pytest.mark.real_loop
async def test_a_stall_shows_in_p90_where_a_closed_loop_hides_it() -> None:
    """One stall of 0.8 s in 3 s: the open loop's p90 is hundreds of ms, the closed loop's a few."""
    with service(1.0, 0.8) as base:
        found = await run_load(
            LoadOptions(base, rate=200, duration_s=3.0, arrivals="constant"), url_workload(base)[1]
        )
    with service(1.0, 0.8) as base:
        naive_s = sorted(await asyncio.to_thread(closed_loop, base, 200, 3.0))
    naive_p90_s = naive_s[int(len(naive_s) * 0.9)]
    assert found.overall.requests == 600
    assert len(naive_s) < 500
    assert found.overall.latency.p90_s > 0.3
    assert found.overall.latency.p99_s > 0.6
    assert naive_p90_s < found.overall.latency.p90_s / 3


def closed_loop(base: str, rate: float, duration_s: float) -> list[float]:
    """Measure the way that hides stalls: the next request waits for the reply to the last."""
    host, _, port = base.removeprefix("http://").partition(":")
    took_s: list[float] = []
    with socket.create_connection((host, int(port))) as connection:
        end_at = time.monotonic() + duration_s
        while (sent_at := time.monotonic()) < end_at:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            connection.recv(4096)
            took_s.append(time.monotonic() - sent_at)
            time.sleep(max(0.0, 1 / rate - took_s[-1]))
    return took_s


@pytest.mark.real_loop
async def test_nobody_listening_is_said_by_the_parent() -> None:
    """The worker's error comes out as the same class, with address and remedy."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        base = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(TargetGone, match=r"nothing listens on 127\.0\.0\.1"):
        await run_load(LoadOptions(base, rate=10, duration_s=1), url_workload(base)[1])
    assert not workers(os.getpid())


@pytest.mark.real_loop
async def test_a_workload_that_cannot_be_loaded_is_said_by_the_parent() -> None:
    """A slip in the scenario is a UsageError here, not a traceback of another process."""
    with pytest.raises(UsageError, match="cannot load workload 'nowhere:Nothing'"):
        await run_load(LoadOptions("http://127.0.0.1:1", rate=10, duration_s=1), "nowhere:Nothing")


@pytest.mark.real_loop
async def test_a_worker_that_crashes_leaves_its_last_words(tmp_path: Path) -> None:
    """An end without a result is an error that quotes what the worker said last."""
    (tmp_path / "crashing.py").write_text(
        "import os, sys\nprint('about to crash', flush=True)\nos._exit(9)\n"
    )
    with pytest.raises(BackstayError, match="without a result: about to crash"):
        await run_load(
            LoadOptions("http://127.0.0.1:1", rate=10, duration_s=1),
            WorkloadSpec("crashing:X", pythonpath=(str(tmp_path),)),
        )


@pytest.mark.real_loop
async def test_cancelling_ends_the_worker_at_once() -> None:
    """After the cancellation has been awaited, no worker is left."""
    with service() as base:
        started = asyncio.Event()
        running = asyncio.create_task(
            run_load(
                LoadOptions(base, rate=50, duration_s=60),
                url_workload(base)[1],
                on_start=lambda at: started.set(),
            )
        )
        await asyncio.wait_for(started.wait(), 10)
        assert len(workers(os.getpid())) == 1
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert not workers(os.getpid())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_parent_that_is_killed_leaves_no_worker(number: signal.Signals) -> None:
    """Not even kill -9 of the parent orphans the worker: its stdin ends and it leaves."""
    program = (
        "import asyncio, sys; from backstay.lab.load import *\n"
        "base, spec = url_workload(sys.argv[1])\n"
        "go = run_load(LoadOptions(base, 50, 60), spec, on_start=lambda at: print('on', flush=True))\n"
        "asyncio.run(go)\n"
    )
    with (
        service() as base,
        subprocess.Popen(
            [sys.executable, "-c", program, base],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as parent,
    ):
        assert parent.stdout is not None
        assert parent.stdout.readline() == "on\n"
        (worker,) = workers(parent.pid)
        os.kill(parent.pid, number)
        parent.wait(10)
        assert is_gone_within(worker, 5.0)


@pytest.mark.real_loop
async def test_a_knee_is_censored_when_the_target_is_faster_than_asked() -> None:
    """One short step answers the quick question for real."""
    with service() as base:
        plan = KneePlan(start_rate=50, max_rate=50, step_s=1.0, warmup_s=0.2)
        knee = await find_knee(
            LoadOptions(base, rate=1, duration_s=1),
            url_workload(base)[1],
            goal=KneeGoal(1.0),
            plan=plan,
        )
    assert knee.censored
    assert knee.rate == 50
