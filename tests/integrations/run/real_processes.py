"""What tests with real processes share: the application, a process, and asking it things."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

APPLICATION = """
import asyncio, contextlib, os, sys, time
if os.environ.get("SLOW_IMPORT"): print("importing", file=sys.stderr, flush=True); time.sleep(60)

@contextlib.asynccontextmanager
async def lifespan():
    if os.environ.get("FAIL_STARTUP"): raise RuntimeError("no database")
    if os.environ.get("SLOW_STARTUP"):
        print("opening the database", file=sys.stderr, flush=True)
        await asyncio.sleep(60)
    yield
    if os.environ.get("HANG_SHUTDOWN"): await asyncio.sleep(3600)  # hang
    print("hook ran", flush=True)

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        try:
            async with lifespan():
                await send({"type": "lifespan.startup.complete"})
                await receive()
            await send({"type": "lifespan.shutdown.complete"})
        except RuntimeError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
        return
    path, status = scope["path"], 200
    print("at", path, file=sys.stderr, flush=True)
    if path.startswith("/slow/"): await asyncio.sleep(float(path[6:]))
    elif path.startswith("/block/"): time.sleep(float(path[7:]))
    elif path == "/leak": kept.append(asyncio.create_task(forever(), name="leaked"))
    elif path == "/stubborn": kept.append(asyncio.create_task(stubborn(), name="stubborn"))
    elif path == "/job": asyncio.get_running_loop().run_in_executor(None, compute)
    elif path != "/": status = 404
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})

kept = []

def compute():
    time.sleep(3600)  # job

async def forever():
    await asyncio.Event().wait()

async def stubborn():
    while True:
        try: await asyncio.sleep(3600)
        except asyncio.CancelledError: pass
"""


def line_of(text: str) -> str:
    """Return "web.py:LINE" of the application's line that holds `text`."""
    lines = APPLICATION.splitlines()
    return f"web.py:{next(n for n, line in enumerate(lines, 1) if text in line)}"


class Process:
    """A `backstay` process whose stderr is collected."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self.popen = popen
        self.pid = popen.pid
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stderr is not None
        self._lines.extend(self.popen.stderr)

    @property
    def log(self) -> str:
        """What it has written to stderr so far."""
        return "".join(self._lines)

    def wait_for(self, pattern: str, timeout: float = 15.0) -> re.Match[str]:
        """Wait for a line on stderr."""
        until = time.monotonic() + timeout
        while (found := re.search(pattern, self.log)) is None:
            ended = self.popen.poll() is not None
            assert not ended or self._reader.is_alive(), f"ended without {pattern!r}:\n{self.log}"
            assert time.monotonic() < until, f"no {pattern!r} within {timeout} s:\n{self.log}"
            time.sleep(0.01)
        return found

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.wait_for(r"listening on http://127\.0\.0\.1:(\d+)", 45.0)[1])

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection to the application."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)

    def get(self, path: str) -> tuple[int, str]:
        """Ask once, over a connection of its own."""
        connection = self.connect()
        try:
            connection.request("GET", path)
            reply = connection.getresponse()
            return reply.status, reply.read().decode()
        finally:
            connection.close()

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.popen.send_signal(number)

    def end(self, timeout: float = 20.0) -> int:
        """Wait for its end and return the exit code."""
        code = self.popen.wait(timeout)
        self._reader.join(5)
        return code


Start = Callable[..., Process]
Command = Callable[..., "subprocess.CompletedProcess[str]"]


def environment(room: Path, extra: dict[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, "XDG_RUNTIME_DIR": str(room / "runtime"), **extra}


def in_background(call: Callable[[], Any]) -> Callable[[], Any]:
    """Run `call` in a thread; the returned function waits for its result."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(call()))
    thread.start()

    def result() -> Any:
        thread.join(30)
        return results[0]

    return result


def document(completed: subprocess.CompletedProcess[str]) -> Any:
    """Return the one JSON document on stdout."""
    return json.loads(completed.stdout)
