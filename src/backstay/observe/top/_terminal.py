"""A terminal taken over for a while, and given back as it was, however it ends."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import threading
import tty
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any, Final

from backstay.observe.top._cells import Line, flat, plain
from backstay.observe.top._keys import Keys

__all__ = ["Paint", "Terminal", "paint_for", "speaks_unicode"]

Paint = Callable[[str, str], str]
"""Gives a text a look; see `Span`."""

_COLOURED: Final = {
    "strong": "1",
    "soft": "2",
    "good": "32",
    "bad": "1;31",
    "open": "33",
    "head": "1;4",
    "picked": "7",
}
_UNCOLOURED: Final = {**_COLOURED, "good": "", "bad": "1", "open": "1"}

#: Another screen, no cursor, no wrapping at the edge; and the other way round.
_ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[?7l"
_LEAVE: Final = "\x1b[?7h\x1b[?25h\x1b[?1049l"

#: How long the rest of a key's sequence may take: a slow line sends it in pieces.
_ESCAPE_S: Final = 0.05
_CHUNK: Final = 4096
#: What ends a program, after which the terminal must be fit for the next one.
_ENDS: Final = (signal.SIGTERM, signal.SIGHUP)


def paint_for(environment: Mapping[str, str]) -> Paint:
    """Return how texts are painted: without colours where NO_COLOR is set (https://no-color.org)."""
    codes = _UNCOLOURED if environment.get("NO_COLOR") else _COLOURED

    def paint(look: str, text: str) -> str:
        code = codes.get(look, "")
        return f"\x1b[{code}m{text}\x1b[0m" if code and text else text

    return paint


def speaks_unicode(encoding: str | None) -> bool:
    """Tell whether our signs can be written in an encoding."""
    try:
        "…−µ·▼".encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


class Terminal:
    """The terminal of this process, between `__enter__` and `__exit__`.

    Keys are read as they are typed, and what it showed before comes back at the end, also when a
    signal ends the process, or stops it for a while (Ctrl-Z).

    Attributes:
        ended_by: the number of the signal that asked the process to end; 0 for none.
    """

    def __init__(self, paint: Paint) -> None:
        """Take nothing over yet.

        Args:
            paint: gives texts their looks.
        """
        self.ended_by = 0
        self._in, self._out = sys.stdin.fileno(), sys.stdout.fileno()
        self._paint = paint
        self._unicode = speaks_unicode(sys.stdout.encoding)
        self._keys = Keys()
        self._shown: list[str] = []
        self._size = (0, 0)
        self._woken, self._waker = -1, -1
        self._before: dict[int, Any] = {}
        self._saved: list[Any] = []

    def __enter__(self) -> Terminal:
        """Take it over."""
        self._woken, self._waker = os.pipe()
        for end in (self._woken, self._waker):
            os.set_blocking(end, False)
        self._saved = termios.tcgetattr(self._in)
        if threading.current_thread() is threading.main_thread():
            for number in (*_ENDS, signal.SIGWINCH, signal.SIGTSTP):
                self._before[number] = signal.signal(number, self._on_signal)
        self._take()
        return self

    def __exit__(self, *_: object) -> None:
        """Give it back."""
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before.clear()
        self._give_back()
        os.close(self._woken)
        os.close(self._waker)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines now."""
        try:
            columns, lines = os.get_terminal_size(self._out)
        except OSError:
            columns, lines = 0, 0
        return (columns or 80), (lines or 24)  # some report nothing

    def wake(self) -> None:
        """Make `wait` return; callable from any thread, and from a signal handler."""
        try:
            os.write(self._waker, b"\0")
        except (BlockingIOError, OSError):
            pass  # full: it returns anyhow; closed: nobody waits any more

    def wait(self, seconds: float) -> list[str]:
        """Wait for keys, and return those that came; none after some seconds, or when woken.

        Args:
            seconds: at most.
        """
        if self._keys.waits:
            seconds = min(seconds, _ESCAPE_S)
        ready, _, _ = select.select([self._in, self._woken], [], [], seconds)
        if self._woken in ready:
            try:
                os.read(self._woken, _CHUNK)
            except BlockingIOError:
                pass
        if self._in not in ready:
            return self._keys.flush() if not ready else []
        try:
            data = os.read(self._in, _CHUNK)
        except OSError:
            data = b""
        if not data:
            self._is_gone()
        return self._keys.feed(data)

    def show(self, lines: Sequence[Line]) -> None:
        """Show lines from the top; only those that differ from what is there are written."""
        if self.size != self._size:
            self._size = self.size
            self._shown = []
        texts = [self._text(line) for line in lines]
        written = [] if self._shown else ["\x1b[H\x1b[2J"]
        for place, text in enumerate(texts):
            if place >= len(self._shown) or self._shown[place] != text:
                written.append(f"\x1b[{place + 1};1H{text}\x1b[0m\x1b[K")
        if len(texts) < len(self._shown):
            written.append(f"\x1b[{len(texts) + 1};1H\x1b[J")
        self._shown = texts
        try:
            self._write("".join(written))
        except OSError:
            self._is_gone()

    def _is_gone(self) -> None:
        """The terminal has gone away: as if the signal had come that tells of it."""
        self.ended_by = self.ended_by or signal.SIGHUP

    def _text(self, line: Line) -> str:
        if not self._unicode:
            line = tuple(span._replace(text=plain(span.text)) for span in line)
        return "".join(self._paint(span.look, span.text) for span in line) if flat(line) else ""

    def _write(self, text: str) -> None:
        data = text.encode(sys.stdout.encoding or "ascii", "replace")
        while data:
            try:
                data = data[os.write(self._out, data) :]
            except BlockingIOError:  # somebody shares the terminal, and has set it so
                select.select([], [self._out], [], 1.0)

    def _take(self) -> None:
        tty.setcbreak(self._in)
        self._write(_ENTER)
        self._shown, self._size = [], (0, 0)

    def _give_back(self) -> None:
        try:
            self._write(_LEAVE)
            termios.tcsetattr(self._in, termios.TCSADRAIN, self._saved)
        except (OSError, termios.error):
            pass  # it is gone: there is nobody to give it back to

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number in _ENDS:
            self.ended_by = number
        elif number == signal.SIGTSTP:
            self._stop()
        self.wake()

    def _stop(self) -> None:
        """Be stopped as any program is, with the terminal as it was; go on when continued."""
        self._give_back()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self._on_signal)
        self._take()
