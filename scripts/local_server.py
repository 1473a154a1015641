"""One server process of our own: started, killed, hung and stopped as a test needs it."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

__all__ = ["LocalServer", "free_port", "is_ours", "says"]

READY_S = 10.0  # until a server answers; a tenth of a second is usual
STOP_S = 5.0
# Below the ports that the kernel gives to clients: one of those could be taken, by a client that
# connects again and again even by itself, while a server that was killed is away.
PORTS = range(20000, 30000)


class LocalServer:
    """One server of our own, on a free port of the loopback address.

    Attributes:
        home: its folder; kept when it is killed, removed when it stops.
        port: where it listens; chosen at the first start, and kept over restarts.
        pid: its process, or None.
    """

    name = ""
    program_name = ""

    def __init__(self, home: Path) -> None:
        """Describe it; nothing runs yet."""
        self.home = home
        self.port = 0
        self.pid: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients find it."""
        raise NotImplementedError

    def program(self) -> tuple[str, dict[str, str]]:
        """Return the path of the program, and the environment that it needs.

        Raises:
            Missing: it cannot be had.
        """
        raise NotImplementedError

    def options(self, port: int) -> list[str]:
        """Return the words after the program; its folder is there."""
        raise NotImplementedError

    def answers(self, port: int) -> bool:
        """Tell whether it is ready."""
        raise NotImplementedError

    @property
    def pids(self) -> str:
        """Its process, for people to read."""
        return str(self.pid or 0)

    def addresses(self) -> dict[str, str | int]:
        """Return what clients may want to know."""
        return {"url": self.url, "host": "127.0.0.1", "port": self.port, "pid": self.pid or 0}

    def resume(self, where: Mapping[str, str | int]) -> bool:
        """Take over what an earlier command has started; False when it does not live.

        Args:
            where: what its `addresses` said then.
        """
        pid, port = int(where["pid"]), int(where["port"])
        if not is_ours(pid, port, self.program_name):
            return False
        self.port, self.pid = port, pid
        return True

    def start(self, *, outlive: bool = False) -> None:
        """Start it and wait until it answers.

        Args:
            outlive: let it run when this process ends; otherwise it ends as well, even if this
                process is killed (on Linux), or only the thread that has called.

        Raises:
            Missing: the program is not to be had.
            RuntimeError: it does not answer.
        """
        program, environment = self.program()
        self.home.mkdir(parents=True, exist_ok=True)
        for _ in range(3):  # another process may take the port between the look and the start
            port = self.port or free_port()
            if self._try(program, environment, port, outlive):
                self.port = port
                return
        raise RuntimeError(f"{self.program_name} does not answer on port {port}; {self.last_words}")

    def _try(self, program: str, environment: dict[str, str], port: int, outlive: bool) -> bool:
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / f"{self.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*([] if outlive else _dying_with_us()), program, *self.options(port)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=outlive,
            )
        self.pid = self._process.pid
        until = time.monotonic() + READY_S
        while time.monotonic() < until and self._process.poll() is None:
            if self.answers(port):
                return True
            time.sleep(0.02)
        log_text = (self.home / f"{self.name}.log").read_text(encoding="utf-8", errors="replace")
        self.last_words = f"status {self._process.poll()}; its log ends:\n{log_text[-800:]}"
        if self.port:  # it has run before: what it has written is not ours to lose
            self._end(signal.SIGTERM)
        else:
            self.stop()
        return False

    last_words = "it has said nothing"

    def send(self, number: signal.Signals) -> None:
        """Send it a signal: SIGSTOP hangs it, SIGCONT lets it go on; back when a SIGSTOP has done so."""
        assert self.pid is not None
        os.kill(self.pid, number)
        if number == signal.SIGSTOP:
            wait_until_hung(self.pid)

    def kill(self) -> None:
        """End it as a crash would; `start` brings it back on the same port.

        What it has written to its folder is kept; a server that writes nothing comes back empty.
        """
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it, whatever state it is in, and remove its folder."""
        self._end(signal.SIGTERM)
        shutil.rmtree(self.home, ignore_errors=True)

    def alive(self) -> bool:
        """Tell whether its process is there, be it hung."""
        return self.pid is not None and self._alive()

    def _end(self, number: signal.Signals) -> None:
        if self.pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
            os.kill(self.pid, signal.SIGCONT)  # one that is stopped heeds nothing else
        until = time.monotonic() + STOP_S
        while self._alive():
            if time.monotonic() > until:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.01)
        self.pid = self._process = None

    def _alive(self) -> bool:
        if self._process is not None:
            return self._process.poll() is None
        return self.pid is not None and is_ours(self.pid, self.port, self.program_name)


def wait_until_hung(pid: int) -> None:
    """Wait until no thread of a process runs any more: on a busy machine one answers on for a while."""
    until = time.monotonic() + STOP_S
    tasks = Path(f"/proc/{pid}/task")
    while tasks.is_dir() and time.monotonic() < until:
        states = {_state(one / "stat") for one in tasks.iterdir()}
        if states <= {"T", "t", "Z", "X"}:
            return
        time.sleep(0.002)


def _state(stat: Path) -> str:
    try:
        return stat.read_text().rpartition(") ")[2][:1]
    except OSError:
        return "X"  # has ended meanwhile


def says(port: int, asked: bytes, answer: bytes) -> bool:
    """Tell whether who listens there begins its answer so."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.5) as probe:
            probe.sendall(asked)
            return probe.recv(len(answer)) == answer
    except OSError:
        return False


def free_port() -> int:
    """Return a port of the loopback address that nobody has just now."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port


def _dying_with_us() -> list[str]:
    """Return the words before a program that end it with the *thread* that has started it.

    Not by a function between fork and exec: those are no place for Python in a process that has
    threads of gRPC.
    """
    found = shutil.which("setpriv") if sys.platform.startswith("linux") else None
    return [found, "--pdeathsig", "KILL"] if found else []


def is_ours(pid: int, port: int, program: str) -> bool:
    """Tell whether a process is the server that we started there, and no stranger with its number."""
    if Path("/proc/self/cmdline").exists():  # slim containers have no ps
        try:
            said = (
                Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
            )  # "" of a zombie
        except OSError:
            return False
    else:
        words = ["ps", "-o", "args=", "-p", str(pid)]
        said = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    return program in said and re.search(rf"\b{port}\b", said) is not None
