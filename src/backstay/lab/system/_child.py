"""One process of the system under test: start, watch, stop, and what its log said last."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from backstay.lab.system._wardship import Wardship

__all__ = ["Child"]

_LAUNCH = Path(__file__).with_name("_launch.py")


class Child:
    """A process in a group of its own, with its output in a file.

    It ends with the lab, however the lab ends: by `stop`, by the parent-death
    signal, or by the guardian.
    """

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        """Prepare; nothing is started yet.

        Args:
            name: for messages.
            command: program and arguments.
            log: the file that gets its standard output and error.
        """
        self.name = name
        self.command = tuple(command)
        self.log = log
        self.asked_to_stop = False
        self.was_killed = False
        self._process: subprocess.Popen[bytes] | None = None
        self._wardship: Wardship | None = None

    def __repr__(self) -> str:
        """Name, pid and state."""
        return f"<Child {self.name} pid={self.pid} exit_code={self.exit_code}>"

    @property
    def pid(self) -> int | None:
        """The process id; None before the start."""
        return None if self._process is None else self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs or before the start."""
        return None if self._process is None else self._process.poll()

    @property
    def is_running(self) -> bool:
        """True from the start to the end of the process."""
        return self._process is not None and self._process.poll() is None

    def start(self, wardship: Wardship, env: Mapping[str, str], cwd: Path) -> None:
        """Start the process and entrust its group to the guardian.

        Args:
            wardship: makes sure that it does not outlive the lab.
            env: the whole environment.
            cwd: its working directory.
        """
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_LAUNCH), str(os.getpid()), *self.command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env),
                cwd=cwd,
                # Away from the terminal's group: a Ctrl-C is the lab's to hand on, in order.
                start_new_session=True,
            )
        self._wardship = wardship
        wardship.entrust_group(self._process.pid)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process and its children, if it runs."""
        if self._process is not None and self.is_running:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def ask_to_stop(self) -> None:
        """Send SIGTERM, once it makes sense."""
        if self._process is not None and self.is_running:
            self.asked_to_stop = True
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill whatever is left of the process and its group, and reap it. Idempotent."""
        if self._process is None:
            return
        if self.is_running:
            self.was_killed = True
        # Also when the leader has ended: it may have left children in its group.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._wardship is not None:
            self._wardship.release_group(self._process.pid)
            self._wardship = None

    def tail(self, lines: int = 12) -> str:
        """Return the last lines of its log, for the message that says why it failed."""
        with (
            contextlib.suppress(OSError),
            self.log.open(encoding="utf-8", errors="replace") as text,
        ):
            return "".join(deque(text, maxlen=lines)).rstrip()
        return ""

    def how_it_ended(self) -> str:
        """Say it for people: "exit code 1", "killed by SIGSEGV", "still running"."""
        code = self.exit_code
        if code is None:
            return "still running" if self._process is not None else "never started"
        if code >= 0:
            return f"exit code {code}"
        try:
            return f"killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"killed by signal {-code}"
