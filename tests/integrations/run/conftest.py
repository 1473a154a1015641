"""Real processes under `backstay`, started and ended for one test."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_processes import APPLICATION, Command, Process, Start, environment


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """Provide a working directory with the application in it."""
    (tmp_path / "web.py").write_text(APPLICATION)
    (tmp_path / "runtime").mkdir(mode=0o700)
    return tmp_path


@pytest.fixture
def start(room: Path) -> Iterator[Start]:
    """Start `backstay ARGUMENTS`; whatever is alive at the end of the test is killed."""
    started: list[Process] = []

    def begin(*arguments: str, **env: str) -> Process:
        process = Process(
            subprocess.Popen(
                [sys.executable, "-m", "backstay", *arguments],
                cwd=room,
                env=environment(room, env),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.popen.kill()
        process.end()
        for stream in (process.popen.stdout, process.popen.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture
def backstay(room: Path) -> Command:
    """Run `backstay ARGUMENTS` to its end."""

    def run(*arguments: str, timeout: float = 30.0, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "backstay", *arguments],
            cwd=room,
            env=environment(room, env),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run
