"""A terminal for tests: a program at the other end of a pseudo-terminal, and the screen that it paints."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import shlex
import signal
import struct
import sys
import termios
import time
from pathlib import Path
from types import TracebackType

from real_processes import environment

_SEQUENCE = re.compile(r"\x1b\[(\??)([\d;]*)([A-Za-z])")


class Screen:
    """What a terminal shows; it understands what `backstay top` sends, and nothing else."""

    def __init__(self, columns: int, lines: int) -> None:
        self.resize(columns, lines)
        self.modes: dict[str, bool] = {}
        self.colours: set[str] = set()
        self._decode = codecs.getincrementaldecoder("utf-8")("strict").decode
        self._rest = ""
        self._outside = ""  # what was written while the other screen was not in use

    def resize(self, columns: int, lines: int) -> None:
        self.columns, self.lines = columns, lines
        self.cells = [[" "] * columns for _ in range(lines)]
        self._row = self._column = 0
        self._stale = True  # what was painted for another size is on its way still

    @property
    def rows(self) -> list[str]:
        return ["".join(row).rstrip() for row in self.cells]

    @property
    def text(self) -> str:
        return "\n".join(self.rows)

    @property
    def outside(self) -> str:
        return self._outside

    def feed(self, data: bytes) -> None:
        text = self._rest + self._decode(data)
        self._rest = ""
        at = 0
        while at < len(text):
            if text[at] != "\x1b":
                self._put(text[at])
                at += 1
                continue
            found = _SEQUENCE.match(text, at)
            if found is None:
                assert len(text) - at < 16, f"unknown sequence {text[at : at + 16]!r}"
                self._rest = text[at:]
                return
            self._obey(*found.groups())
            at = found.end()

    def _put(self, one: str) -> None:
        if not self.modes.get("1049"):
            self._outside += one
            return
        assert one.isprintable(), f"a control character reached the terminal: {one!r}"
        if self._stale and not (self._row < self.lines and self._column < self.columns):
            return
        assert self._row < self.lines, "a line below the screen"
        assert self._column < self.columns, f"wider than {self.columns}: {self.rows[self._row]!r}"
        self.cells[self._row][self._column] = one
        self._column += 1

    def _obey(self, private: str, numbers: str, letter: str) -> None:
        if private:
            self.modes[numbers] = letter == "h"
        elif letter == "H":
            row, _, column = numbers.partition(";")
            self._row, self._column = int(row or 1) - 1, int(column or 1) - 1
        elif letter == "K":
            row = self.cells[min(self._row, self.lines - 1)]
            row[self._column :] = [" "] * (self.columns - self._column)
        elif letter == "J":
            first = 0 if numbers == "2" else self._row
            self._stale = self._stale and numbers != "2"
            for row in self.cells[first:]:
                row[:] = [" "] * self.columns
        elif letter == "m":
            self.colours.update(numbers.split(";"))
        else:
            raise AssertionError(f"unknown sequence: {numbers}{letter}")


class Typist:
    """Runs `backstay ARGUMENTS` in a terminal, types keys, and looks at the screen."""

    def __init__(
        self,
        room: Path,
        *arguments: str,
        columns: int = 110,
        lines: int = 24,
        in_shell: str = "",
        **env: str,
    ) -> None:
        """Start it.

        Args:
            room: where.
            arguments: after `backstay`.
            columns: of the terminal.
            lines: of the terminal.
            in_shell: what a shell with job control does afterwards; "" for no shell.
            env: variables.
        """
        self.screen = Screen(columns, lines)
        surroundings = environment(room, {"TERM": "xterm", "PYTHONUTF8": "1", **env})
        command = [sys.executable, "-m", "backstay", *arguments]
        if in_shell:
            command = ["/bin/bash", "-c", f"set -m; {shlex.join(command)}; {in_shell}"]
        self.pid, self._end = pty.fork()
        if not self.pid:
            os.chdir(room)
            os.execve(command[0], command, surroundings)
        self.size(columns, lines)
        self.code: int | None = None

    def __enter__(self) -> Typist:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._end)

    def size(self, columns: int, lines: int) -> None:
        """Be resized by a person."""
        self.screen.resize(columns, lines)
        fcntl.ioctl(self._end, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def type(self, keys: str) -> None:
        os.write(self._end, keys.encode())

    def read(self, seconds: float) -> bool:
        """Take what comes; False at the end."""
        if not select.select([self._end], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self._end, 65_536)
        except OSError:  # EIO: the program has ended
            return False
        self.screen.feed(data)
        return bool(data)

    def see(self, pattern: str, timeout: float = 20.0) -> re.Match[str]:
        """Wait until the screen shows something."""
        until = time.monotonic() + timeout
        while (found := re.search(pattern, self.screen.text, re.MULTILINE)) is None:
            told = f"no {pattern!r} within {timeout} s:\n{self.screen.text}\n{self.screen.outside}"
            assert time.monotonic() < until, told
            assert self.read(0.1), told
        return found

    def see_no(self, pattern: str, timeout: float = 20.0) -> None:
        """Wait until it does not."""
        until = time.monotonic() + timeout
        while re.search(pattern, self.screen.text, re.MULTILINE):
            assert time.monotonic() < until, f"still {pattern!r}:\n{self.screen.text}"
            assert self.read(0.1)

    def state(self) -> list[object]:
        """Return how the terminal is set."""
        return termios.tcgetattr(self._end)

    def end(self, timeout: float = 20.0) -> int:
        """Wait for the end; return the exit code."""
        until = time.monotonic() + timeout
        while self.read(0.1):
            assert time.monotonic() < until, f"it goes on:\n{self.screen.text}"
        _, status = os.waitpid(self.pid, 0)
        self.code = os.waitstatus_to_exitcode(status)
        return self.code
