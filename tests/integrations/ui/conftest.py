"""One browser for all tests of the pages, and processes to look at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, Page
from local_servers import local_services

WATCHED = Path(__file__).with_name("watched.py")

# Tasks that wake each other, for the timeline.
STEADY = """
import asyncio

async def worker(jobs, done):
    while True:
        number = await jobs.get()
        sum(range(2_000 * number))
        done.set()

async def main():
    jobs, done = asyncio.Queue(), asyncio.Event()
    workers = [asyncio.create_task(worker(jobs, done), name=f"worker-{n}") for n in range(4)]
    while True:
        done.clear()
        for number in range(4):
            jobs.put_nowait(number)
        await done.wait()
        await asyncio.sleep(0.02)

asyncio.run(main())
"""


class Watched:
    """A process under `backstay run`, and a gate to it."""

    def __init__(
        self, folder: Path, count: int, stack: ExitStack, beside: Watched | None = None
    ) -> None:
        """Start it, with its socket in the same folder as that of `beside`."""
        self.trigger = folder / "block"
        self._log = folder / "watched.log"
        runtime = folder / "run"
        runtime.mkdir(mode=0o700)
        self.environment = (
            {**os.environ, "XDG_RUNTIME_DIR": str(runtime)}
            if beside is None
            else beside.environment
        )
        self.process = self._start(
            stack, "run", "--leak-interval", "1", str(WATCHED), str(count), str(self.trigger)
        )
        ready = self.trigger.with_suffix(".ready")
        until = time.monotonic() + 40
        while not ready.exists():
            assert self.process.poll() is None, self._log.read_text()
            assert time.monotonic() < until, "the watched process did not start"
            time.sleep(0.02)
        self._stack = stack
        self.pid = self.process.pid

    def _start(self, stack: ExitStack, *words: str) -> subprocess.Popen[str]:
        with self._log.open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "backstay", *words],
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        stack.callback(_end, process)
        return process

    def gate(self) -> str:
        """Open a gate of its own, and return the address that it prints."""
        gate = self._start(self._stack, "ui", str(self.pid), "--json")
        assert gate.stdout is not None
        line = gate.stdout.readline()
        assert line, self._log.read_text()
        return str(json.loads(line)["url"])

    def block(self, seconds: float) -> None:
        """Have the loop blocked again and again, until `unblock`."""
        self.trigger.write_text(str(seconds))

    def unblock(self) -> None:
        """Let the loop run."""
        self.trigger.unlink(missing_ok=True)


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Run a Chromium, once for all tests."""
    from local_chromium import chromium_program

    try:
        program, environment = chromium_program()
    except local_services.Missing as missing:
        if os.environ.get("BACKSTAY_REQUIRE_SERVICES") == "1":
            pytest.fail(f"BACKSTAY_REQUIRE_SERVICES=1, and {missing}", pytrace=False)
        pytest.skip(f"no real browser: {missing}")
    found = Browser(program, environment, tmp_path_factory.mktemp("browser"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def start_watched(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., Watched]]:
    """Return what starts a process with so many waiting tasks."""
    with ExitStack() as stack:
        yield lambda count, beside=None: Watched(
            tmp_path_factory.mktemp("ui"), count, stack, beside
        )


@pytest.fixture(scope="module")
def watched(start_watched: Callable[..., Watched]) -> Watched:
    """Run a process with a few hundred tasks."""
    return start_watched(400)


@pytest.fixture(scope="module")
def visit(browser: Browser, watched: Watched) -> Iterator[Callable[..., Page]]:
    """Return what opens a screen of the process, in the one private window that was let in."""
    page = browser.page()
    page.goto(watched.gate())
    page.until("location.pathname === '/ui/' && window.__backstay?.rounds > 0")

    def go(screen: str, **query: Any) -> Page:
        page.complaints.clear()
        page.js(f"location.hash = {json.dumps('#/' + screen)}")
        page.until(
            f"window.__backstay.screen === {json.dumps(screen.split('/', maxsplit=1)[0].split('?', maxsplit=1)[0])}"
            " && window.__backstay.view && window.__backstay.busy === null"
        )
        return page

    yield go
    page.close()


@pytest.fixture
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a small program under the flight recorder, and return the address of a gate to it."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "steady.py").write_text(STEADY)
    runtime = folder / "run"
    runtime.mkdir(mode=0o700)
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(runtime)}
    with ExitStack() as stack:

        def start(*words: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, "-m", "backstay", *words],
                env=environment,
                cwd=folder,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.callback(_end, process)
            return process

        process = start("run", "--record", "steady.py")
        until = time.monotonic() + 20
        while not list(runtime.glob("backstay/*.sock")):
            assert time.monotonic() < until
            time.sleep(0.02)
        gate = start("ui", str(process.pid), "--json")
        assert gate.stdout is not None
        yield str(json.loads(gate.stdout.readline())["url"])
