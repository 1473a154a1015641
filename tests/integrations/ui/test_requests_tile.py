"""The tile of requests, of a real application under a few requests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from browser import Browser

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

APP = """
import asyncio

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    if scope["path"] == "/fails":
        raise RuntimeError("no card")
    if scope["path"] == "/slow":
        await asyncio.sleep(60)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})
"""


def end(process: subprocess.Popen[str]) -> None:
    """Kill it and forget its pipe."""
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Serve the application; the addresses of it and of a gate to its pages."""
    (tmp_path / "shop.py").write_text(APP)
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(runtime)}
    log = tmp_path / "log"
    with ExitStack() as stack:

        def start(*words: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, "-m", "backstay", *words],
                env=environment,
                cwd=tmp_path,
                stdout=subprocess.PIPE,
                stderr=stack.enter_context(log.open("a")),
                text=True,
            )
            stack.callback(end, process)
            return process

        process = start("run", "--port", "0", "--timeout", "0", "shop:app")
        until = time.monotonic() + 20
        while "listening on" not in log.read_text():
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.02)
        url = log.read_text().partition("listening on ")[2].split()[0]
        gate = start("ui", str(process.pid), "--json")
        assert gate.stdout is not None
        yield url, str(json.loads(gate.stdout.readline())["url"])


def test_requests_are_counted_on_the_first_page(browser: Browser, served: tuple[str, str]) -> None:
    """How many are in flight, of how many, and how many have failed."""
    url, gate = served
    for _ in range(5):
        with urllib.request.urlopen(f"{url}/") as reply:
            assert reply.read() == b"ok"
    for _ in range(2):
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"{url}/fails")
    with pytest.raises(TimeoutError):
        urllib.request.urlopen(f"{url}/slow", timeout=0.3)  # and it goes on until that is noticed
    page = browser.page()
    page.goto(gate)
    page.until("location.pathname === '/ui/' && window.__backstay?.rounds > 0")
    page.sees("Requests in flight")
    page.sees("of 8, 2 failed")
    assert page.complaints == []
    page.close()
