"""Progress: lines for logs, a live display for terminals."""

from __future__ import annotations

import asyncio
import io

from rich.console import Console

from backstay.lab.compare import Tick
from backstay.lab.load import SecondRecord
from backstay.lab.report import LiveProgress, PlainProgress, progress_for

MB = 1024 * 1024


def tick(second: int, *, tasks: int | None = 1234, p99_s: float | None = 0.127) -> Tick:
    """Return a second of the naive variant."""
    record = SecondRecord(second, 500, 500, 490, 10, 0.01, p99_s, 3)
    return Tick("naive", record, 60.0, tasks, None if tasks is None else 84 * MB, ("bank slow",))


async def test_plain_progress_writes_a_line_every_five_seconds() -> None:
    """A log gets a line per phase and one in five seconds of load."""
    lines: list[str] = []
    with PlainProgress(lines.append) as progress:
        progress.phase("naive", "starting bank")
        progress.phase("naive", "load")
        for second in range(11):
            progress.tick(tick(second))
            await asyncio.sleep(1)
        progress.note("offering less")
    assert len(lines) == 1 + 3 + 1
    assert lines[1] == (
        "[    0 s] naive: 1/60 s  tasks 1,234  ok 490/s  failed 10/s  p99 127 ms  memory 84.0 MB"
        "  broken: bank slow"
    )
    assert lines[-1] == "[   11 s] offering less"


async def test_what_is_not_known_is_a_dash() -> None:
    """A silent service and a second without replies are not made up."""
    lines: list[str] = []
    progress = PlainProgress(lines.append)
    progress.phase(None, "calibrating: what does this machine sustain?")
    progress.tick(tick(3, tasks=None, p99_s=None))
    assert lines[0].endswith("calibrating: what does this machine sustain?")
    assert "tasks –" in lines[1]
    assert "p99 –" in lines[1]


def test_the_live_display_shows_each_variant() -> None:
    """One line per variant with bar, figures and what is broken; brackets in names are no markup."""
    stream = io.StringIO()
    with LiveProgress(stream) as progress:
        progress.phase(None, "calibrating")
        progress.phase("naive", "starting [bank]")
        console = Console(width=140, file=io.StringIO())
        console.print(progress._draw())
        assert "starting [bank]" in console.file.getvalue()  # type: ignore[attr-defined]
        progress.phase("naive", "load")
        progress.tick(tick(29))
        progress.tick(tick(30, tasks=None, p99_s=None))
        console = Console(width=140, file=io.StringIO())
        console.print(progress._draw())
        text = console.file.getvalue()  # type: ignore[attr-defined]
        assert "29 s left" in text
        assert "1,234" in text, "the peak is kept"
        assert "bank slow" in text
        progress.tick(tick(61))
        progress.note("a [note]")
    assert "a [note]" in stream.getvalue()


def test_a_pipe_gets_lines() -> None:
    """Without a terminal nothing is redrawn."""
    stream = io.StringIO()
    progress = progress_for(stream)
    assert isinstance(progress, PlainProgress)
    progress.note("x")
    assert stream.getvalue().endswith("x\n")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def test_a_terminal_gets_the_live_display() -> None:
    """When rich is there."""
    assert isinstance(progress_for(Terminal()), LiveProgress)
