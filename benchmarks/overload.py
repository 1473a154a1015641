"""Promise: a server that is asked for nine times what it can still does what it can, in time.

A real uvicorn process serves a handler of 2 ms of processor time and 5 ms of waiting;
another process offers it load in an open loop, whatever becomes of the requests, and
gives each half a second. What the server can do at most is measured first, by sixteen
connections that are kept busy. Then the same load goes to the bare application and to
the same one behind an `Admission`, each time to a fresh process; and last comes a load
that is healthy though each request takes 200 ms, of which hardly any may be refused.

What is held against a budget is a ratio of good answers per second *of the server's
processor time*: on a machine with neighbours the server gets less of it, and a client
that keeps offering the same then offers more times what there is.
``python -m benchmarks.overload [asyncio|uvloop]`` prints the whole table.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backstay.lab.load import LoadOptions, run_load, url_workload
from benchmarks.rounds import Figure

CPU_S = 0.002
WAIT_S = 0.005
PATIENCE_S = 0.5
SECONDS = 4.0
WARM_UP_S = 1.0
TIMES = (2, 4, 9)
HEALTHY_RATE = 300

_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@dataclass(frozen=True)
class Row:
    """One load and what became of it.

    Attributes:
        variant: "bare", "admission", or "door": an admission that uvicorn asks before it begins.
        times: how many times its capacity was offered.
        offered: requests per second.
        good: answered 200 in time, per second.
        p99_ms: of those.
        refused: share answered 503.
        gave_up: share whose client had waited for as long as it would.
        cpu_s: seconds of processor time that the server used.
        good_per_cpu_s: good answers for each of these.
    """

    variant: str
    times: float
    offered: float
    good: float
    p99_ms: float
    refused: float
    gave_up: float
    cpu_s: float
    good_per_cpu_s: float


@dataclass
class _Server:
    """A process that serves."""

    process: subprocess.Popen[str]
    port: int

    def cpu_s(self) -> float:
        """Return the seconds of processor time that it has used."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8")
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def _server(variant: str, loop: str) -> Iterator[_Server]:
    """Serve in a process of its own, on the last processor if there are several."""
    command = [sys.executable, "-m", "benchmarks.overload", "serve", variant, loop]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield _Server(process, int(process.stdout.readline()))
        finally:
            process.kill()


async def _capacity(server: _Server) -> tuple[float, float]:
    """Return how many requests a second it answers that always has some to do, and per CPU second."""
    over = time.monotonic() + 2.0
    done = 0

    async def talk() -> None:
        nonlocal done
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        while time.monotonic() < over:
            writer.write(_REQUEST)
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(2)
            done += 1
        writer.close()
        await writer.wait_closed()

    before = server.cpu_s()
    await asyncio.gather(*(talk() for _ in range(16)))
    return done / 2.0, done / (server.cpu_s() - before)


async def _offer(
    server: _Server, variant: str, path: str, times: float, rate: float, warm_up: float
) -> Row:
    base = f"http://127.0.0.1:{server.port}"
    options = LoadOptions(
        base,
        rate=rate,
        duration_s=SECONDS,
        warmup_s=warm_up,
        connections=2000,
        timeout_s=PATIENCE_S,
    )
    before = server.cpu_s()
    result = await run_load(options, url_workload(base + path)[1])
    cpu_s = server.cpu_s() - before
    overall = result.overall
    requests = max(1, overall.requests)
    return Row(
        variant,
        times,
        result.offered_rps,
        result.achieved_rps,
        overall.latency_ok.p99_s * 1e3,
        overall.errors.get("503", 0) / requests,
        overall.errors.get("timeout", 0) / requests,
        cpu_s,
        sum(second.ok for second in result.seconds) / max(cpu_s, 0.01),
    )


async def run(loop: str, times: tuple[int, ...] = TIMES) -> tuple[float, float, list[Row]]:
    """Return the capacity, the same per CPU second, and a row for each load, the healthy one last."""
    _stay_off_the_last_processor()
    with _server("guard", loop) as server:
        capacity, per_cpu_s = await _capacity(server)
    rows: list[Row] = []
    for factor in times:
        for variant in ("bare", "admission", "door"):
            with _server(variant, loop) as server:
                rate = factor * capacity
                rows.append(await _offer(server, variant, "/", factor, rate, WARM_UP_S))
    with _server("admission", loop) as server:
        rows.append(await _offer(server, "admission", "/io", 0.0, HEALTHY_RATE, 0.0))
    return capacity, per_cpu_s, rows


def measure() -> list[Figure]:
    """Return what is lost of the capacity, what would be lost without, and what is refused for nothing."""
    capacity, per_cpu_s, rows = asyncio.run(run("asyncio"))
    figures: list[Figure] = []
    bare = {row.times: row for row in rows if row.variant == "bare"}
    for row in rows[:-1]:
        if row.variant == "bare":
            continue
        without = bare[row.times].good
        what = "lost" if row.variant == "admission" else "door"
        note = (
            f"capacity {capacity:.0f}/s, offered {row.offered:.0f}/s: {row.good:.0f}/s good, "
            f"p99 {row.p99_ms:.0f} ms; without: {without:.0f}/s"
        )
        lost = per_cpu_s / max(row.good_per_cpu_s, 0.001)
        figures.append(Figure(f"overload.{what}.{row.times:g}x", lost, "x", note))
        if what == "lost":
            share = without / max(row.good, 0.001)
            note = "good without an admission, to good with one"
            figures.append(Figure(f"overload.bare.{row.times:g}x", share, "x", note))
    healthy = rows[-1]
    note = f"{healthy.offered:.0f}/s of 200 ms each, from a cold start: p99 {healthy.p99_ms:.0f} ms"
    figures.append(Figure("overload.refused", healthy.refused * 100, "%", note))
    return figures


def _stay_off_the_last_processor() -> None:
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) > 1:
        os.sched_setaffinity(0, processors[:-1])


def _serve(variant: str, loop: str) -> None:
    import socket

    import uvicorn

    from backstay.guard import Admission
    from backstay.integrations.asgi import guard
    from backstay.integrations.uvicorn_door import door_protocol

    processors = sorted(range(os.cpu_count() or 1))
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, {processors[-1]})

    async def handler(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/io":
            await asyncio.sleep(0.2)
        else:
            over = time.thread_time() + CPU_S
            while time.thread_time() < over:
                pass
            await asyncio.sleep(WAIT_S)
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})

    app: Any = handler
    protocol: Any = "httptools"
    if variant == "guard":
        app = guard(handler)
    elif variant != "bare":
        app = guard(handler, admission=Admission())
    if variant == "door":
        protocol = door_protocol(app)
    # With the protocol named, asyncio sets TCP_NODELAY on what it accepts.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.bind(("127.0.0.1", 0))
    sock.listen(4096)  # already: who connects before the server has started waits for it
    print(sock.getsockname()[1], flush=True)
    config = uvicorn.Config(
        app,
        loop=loop,  # type: ignore[arg-type]
        http=protocol,
        interface="asgi3",
        lifespan="off",
        log_config=None,
        access_log=False,
        backlog=4096,
    )
    uvicorn.Server(config).run(sockets=[sock])


def main() -> None:
    """Print the table."""
    loop = sys.argv[1] if len(sys.argv) > 1 else "asyncio"
    capacity, per_cpu_s, rows = asyncio.run(run(loop))
    print(f"{loop}: capacity {capacity:.0f}/s, {per_cpu_s:.0f} for a second of processor time")
    print(
        f"{'':10}{'offered/s':>10}{'good/s':>8}{'of capacity':>13}{'per CPU s':>11}{'p99 ms':>8}"
        f"{'503':>7}{'gave up':>9}"
    )
    for row in rows:
        of_capacity = f"{row.good / capacity:.0%}" if row.times else ""
        per_cpu = f"{row.good_per_cpu_s / per_cpu_s:.0%}" if row.times else ""
        print(
            f"{row.variant:10}{row.offered:10.0f}{row.good:8.0f}{of_capacity:>13}{per_cpu:>11}"
            f"{row.p99_ms:8.0f}{row.refused:7.1%}{row.gave_up:9.1%}"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        _serve(*sys.argv[2:4])
    else:
        main()
