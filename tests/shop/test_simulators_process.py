"""The simulators as processes: flags, ports, signals, and ten thousand hung requests."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int, path: str, document: object = None) -> Any:
    """One HTTP call with the standard library."""
    body = None if document is None else json.dumps(document).encode()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", data=body, timeout=10) as reply:
        return json.load(reply)


@contextmanager
def simulator(kind: str, *flags: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A ready simulator process that must print nothing and exit 0 on SIGTERM."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "shop.simulators", kind, "--port", str(port), *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                ask(port, "/readyz")
                break
            except urllib.error.URLError:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        yield process, port
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        output, _ = process.communicate(timeout=10)
        assert (process.returncode, output) == (0, "")
        assert time.monotonic() - began < 5
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("kind", ["bank", "wms", "gateway"])
def test_starts_with_its_flags_and_ends_on_sigterm(kind: str):
    """Each kind serves with the script of its flags, and ends at once on SIGTERM."""
    with simulator(kind, "--latency-ms", "3", "--jitter", "0.2", "--seed", "9") as (_, port):
        script = ask(port, "/control")
        assert (script["latency_ms"], script["jitter"]) == (3.0, 0.2)
        assert ask(port, "/ledger?summary=1")["kind"] == kind


def test_bad_starts():
    """A wrong flag and a taken port are one line each, exit code 2."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for flags, complaint in (
            (["shop"], "invalid choice: 'shop'"),
            (["bank"], "required: --port"),
            (["bank", "--port", "70000"], "'70000' is not a port"),
            (
                ["bank", "--port", "1", "--latency-ms", "-2"],
                "latency_ms is -2.0, expected a number from 0",
            ),
            (["bank", "--port", port], f"cannot listen on 127.0.0.1:{port}"),
        ):
            done = subprocess.run(
                [sys.executable, "-m", "shop.simulators", *flags],
                capture_output=True,
                text=True,
                timeout=10,
                check=False,
            )
            assert done.returncode == 2
            assert len(done.stderr.splitlines()) == 1
            assert complaint in done.stderr


def memory_mb(process: subprocess.Popen[str]) -> float:
    """Resident memory of a process, MB."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory from /proc")
def test_hung_gateway_holds_ten_thousand_requests_cheaply():
    """Over 10,000 hung requests cost a few kilobytes each, survive disconnects and are all released."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(10_500, hard - 500)
    if count < 10_000:
        pytest.skip(f"this machine allows {hard} open files only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with simulator("gateway") as (process, port):
            ask(port, "/control", {"hang": True})
            before = memory_mb(process)
            held = asyncio.run(_crowd(port, count, lambda: memory_mb(process)))
            assert (held - before) / count < 0.008
            summary = ask(port, "/ledger?summary=1")
            assert summary["summary"]["notifications"] == count - 500
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class _Waiting(asyncio.Protocol):
    """A client that counts the replies of its whole crowd."""

    replies = 0

    def data_received(self, data: bytes) -> None:
        """One reply."""
        _Waiting.replies += data.count(b"HTTP/1.1 202")


async def _crowd(port: int, count: int, measure: Callable[[], float]) -> float:
    """Open `count` hung requests, measure, leave with 500 of them, see the rest released."""
    loop = asyncio.get_running_loop()
    transports: list[asyncio.WriteTransport] = []
    _Waiting.replies = 0
    for number in range(count):
        transport, _ = await loop.create_connection(_Waiting, "127.0.0.1", port)
        body = b'{"id":"n%d","order":"o","kind":"paid"}' % number
        transport.write(
            b"POST /notifications HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s"
            % (len(body), body)
        )
        transports.append(transport)
    async with asyncio.timeout(20):
        await _until(port, "hung", count)
        held = measure()
        for transport in transports[:500]:
            transport.abort()
        await _until(port, "gone", 500)
        await asyncio.to_thread(ask, port, "/control", {"hang": False})
        while _Waiting.replies < count - 500:
            await asyncio.sleep(0.02)
    for transport in transports:
        transport.abort()
    await asyncio.sleep(0)
    return held


async def _until(port: int, name: str, wanted: int) -> None:
    while (await asyncio.to_thread(ask, port, "/ledger?summary=1"))["traffic"][name] != wanted:
        await asyncio.sleep(0.02)
