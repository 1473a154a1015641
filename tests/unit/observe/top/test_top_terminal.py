"""The terminal: taken over, painted where it differs, and given back, at a pseudo-terminal of this process."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import termios
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from backstay.observe.top import Span
from backstay.observe.top._terminal import Terminal, paint_for


class Ends:
    """Both ends of a pseudo-terminal: the near one is stdin and stdout."""

    def __init__(self) -> None:
        self.far, self.near = pty.openpty()
        self.size(40, 5)

    def size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.near, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def seen(self) -> str:
        """Return what was written; a pseudo-terminal hands it on in its own time."""
        told = ""
        while select.select([self.far], [], [], 0.05 if told else 0.2)[0]:
            told += os.read(self.far, 65_536).decode()
        return told

    def type(self, keys: bytes) -> None:
        os.write(self.far, keys)


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ends]:
    made = Ends()
    with (
        os.fdopen(made.near, "r", encoding="utf-8", closefd=False) as stdin,
        os.fdopen(made.near, "w", encoding="utf-8", closefd=False) as stdout,
    ):
        # Not in `sys` itself: pytest captures what is there, and puts its own back before the test begins.
        streams = SimpleNamespace(stdin=stdin, stdout=stdout)
        monkeypatch.setattr("backstay.observe.top._terminal.sys", streams)
        yield made
    for end in (made.near, made.far):
        os.close(end)


def test_it_is_taken_over_and_given_back(ends: Ends) -> None:
    """Another screen without cursor, keys at once and unechoed; signal handlers are put back too."""
    before = termios.tcgetattr(ends.near)
    handler = signal.getsignal(signal.SIGTERM)
    with Terminal(paint_for({})) as terminal:
        assert ends.seen() == "\x1b[?1049h\x1b[?25l\x1b[?7l"
        assert not termios.tcgetattr(ends.near)[3] & (termios.ICANON | termios.ECHO)
        assert terminal.size == (40, 5)
    assert ends.seen() == "\x1b[?7h\x1b[?25h\x1b[?1049l"
    assert termios.tcgetattr(ends.near) == before
    assert signal.getsignal(signal.SIGTERM) is handler


def test_only_what_differs_is_written(ends: Ends) -> None:
    """A whole screen at first and after each change of size; then lines; what is left over is cleared."""
    with Terminal(paint_for({})) as terminal:
        ends.seen()
        terminal.show([(Span("one"),), (Span("two", "bad"),), ()])
        assert ends.seen() == (
            "\x1b[H\x1b[2J\x1b[1;1Hone\x1b[0m\x1b[K"
            "\x1b[2;1H\x1b[1;31mtwo\x1b[0m\x1b[0m\x1b[K\x1b[3;1H\x1b[0m\x1b[K"
        )
        terminal.show([(Span("one"),), (Span("two", "bad"),), ()])
        assert ends.seen() == ""
        terminal.show([(Span("one"),), (Span("2"),)])
        assert ends.seen() == "\x1b[2;1H2\x1b[0m\x1b[K\x1b[3;1H\x1b[J"
        ends.size(20, 4)
        terminal.show([(Span("one"),)])
        assert ends.seen() == "\x1b[H\x1b[2J\x1b[1;1Hone\x1b[0m\x1b[K"


def test_it_waits_for_keys_wake_ups_and_time(ends: Ends) -> None:
    """Whichever comes first; Esc alone is known when nothing has followed for a moment."""
    with Terminal(paint_for({})) as terminal:
        assert terminal.wait(0.0) == []
        ends.type(b"q\x1b[A")
        assert terminal.wait(5.0) == ["q", "up"]
        terminal.wake()
        terminal.wake()
        assert terminal.wait(5.0) == []
        ends.type(b"\x1b")
        assert terminal.wait(5.0) == []
        assert terminal.wait(5.0) == ["escape"]
    terminal.wake()  # harmless afterwards


def test_a_signal_that_ends_it_wakes_it(ends: Ends) -> None:
    """It is told, so that whoever waits can give the terminal back; other signals only wake."""
    with Terminal(paint_for({})) as terminal:
        os.kill(os.getpid(), signal.SIGWINCH)
        assert terminal.wait(5.0) == []
        assert terminal.ended_by == 0
        os.kill(os.getpid(), signal.SIGTERM)
        assert terminal.wait(5.0) == []
        assert terminal.ended_by == signal.SIGTERM


def test_an_ascii_terminal_gets_ascii(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signs are spelled; a size that is not told is 80 by 24."""
    with os.fdopen(ends.near, "w", encoding="ascii", closefd=False) as stdout:
        monkeypatch.setattr("backstay.observe.top._terminal.sys.stdout", stdout)
        ends.size(0, 0)
        with Terminal(paint_for({})) as terminal:
            assert terminal.size == (80, 24)
            ends.seen()
            terminal.show([(Span("−1 µs · …"),)])
            assert "-1 us | ~" in ends.seen()


def test_a_terminal_that_is_gone_ends_it(ends: Ends) -> None:
    """As a hang-up does: nothing can be read, and giving it back is nobody's trouble."""
    far, ends.far = ends.far, os.open(os.devnull, os.O_RDONLY)
    with Terminal(paint_for({})) as terminal:
        os.close(far)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        assert terminal.wait(5.0) == []
        assert terminal.ended_by == signal.SIGHUP
        terminal.show([(Span("to nobody"),)])
