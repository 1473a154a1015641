"""Real processes, started for one test and killed after it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

#: An application that writes down what happens to it, beside its reply.
APPLICATION = """
import asyncio, os, pathlib, time
NOTES = pathlib.Path(os.environ["NOTES"])

def note(what):
    with NOTES.open("a") as file:
        file.write(what + "\\n")

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        note("started")
        await receive()
        note("lifespan shutdown")
        if os.environ.get("HANG"): await asyncio.sleep(3600)
        await send({"type": "lifespan.shutdown.complete"})
        return
    note("at " + scope["path"])
    try:
        await asyncio.sleep(float(scope["path"].strip("/") or 0))
    except asyncio.CancelledError:
        note("cancelled")
        raise
    finally:
        note("finally")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""


class Child:
    """A process, the port that it was given, and the notes of its application."""

    def __init__(self, popen: subprocess.Popen[bytes], port: int, notes: Path, log: Path) -> None:
        self.popen = popen
        self.port = port
        self._notes = notes
        self._log = log

    @property
    def notes(self) -> list[str]:
        """What the application has written down."""
        return self._notes.read_text().splitlines() if self._notes.exists() else []

    @property
    def log(self) -> str:
        """What the process has said."""
        return self._log.read_text(errors="replace")

    def wait_for(self, what: str, seconds: float = 15.0) -> None:
        """Wait until that is noted, or said."""
        until = time.monotonic() + seconds
        while what not in self.notes and not re.search(what, self.log):
            assert time.monotonic() < until, f"no {what!r}: {self.notes}\n{self.log}"
            time.sleep(0.02)

    def ended_within(self, seconds: float) -> int | None:
        """Wait for its end so long; its exit code, or None when it lives."""
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return None


Start = Callable[..., Child]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start `python ARGUMENTS`, in which {port} stands for a free port, beside the application `web:app`."""
    (tmp_path / "web.py").write_text(APPLICATION)
    started: list[subprocess.Popen[bytes]] = []

    def begin(*arguments: str, **env: str) -> Child:
        port = _free_port()
        words = [word.replace("{port}", str(port)) for word in arguments]
        notes, log = (tmp_path / f"{len(started)}.{kind}" for kind in ("notes", "log"))
        with log.open("wb") as said:
            popen = subprocess.Popen(
                [sys.executable, *words],
                cwd=tmp_path,
                env={
                    **os.environ,
                    "NOTES": str(notes),
                    "XDG_RUNTIME_DIR": str(tmp_path),
                    "PYTHONPATH": str(tmp_path),
                    **env,
                },
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        started.append(popen)
        return Child(popen, port, notes, log)

    yield begin
    for popen in started:
        try:
            os.killpg(popen.pid, 9)  # workers of a server, too
        except ProcessLookupError:
            pass
        popen.wait(10)
