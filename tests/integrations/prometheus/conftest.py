"""A private prometheus for the tests here, which may kill and hang it, and what it scrapes."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from local_servers import local_services, running


class Exporter:
    """A process whose counters grow as it is told."""

    def __init__(self, port: int) -> None:
        self.port = port

    def set(self, good: float, bad: float) -> None:
        """Let them grow by so much a second from now on."""
        address = f"http://127.0.0.1:{self.port}/set?good={good}&bad={bad}"
        with urllib.request.urlopen(address, timeout=5) as answer:
            answer.read()


@pytest.fixture(scope="module")
def exporter() -> Iterator[Exporter]:
    """Run `exporter.py` in a process of its own."""
    port = local_services.free_port()
    script = Path(__file__).with_name("exporter.py")
    process = subprocess.Popen([sys.executable, str(script), str(port)], stdin=subprocess.DEVNULL)
    try:
        made = Exporter(port)
        until = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError):
                made.set(0, 0)
                break
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
        yield made
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory, exporter: Exporter) -> Iterator[Any]:
    """Run a prometheus that scrapes the exporter five times a second; see its class."""
    server = local_services.PrometheusServer(
        tmp_path_factory.mktemp("prometheus"), [f"127.0.0.1:{exporter.port}"], interval=0.2
    )
    yield from running(server)


@pytest.fixture
def server(prometheus: Any) -> Any:
    """Return a prometheus that runs, whatever the test before has done to it."""
    if not prometheus.alive():
        prometheus.start()
    return prometheus
