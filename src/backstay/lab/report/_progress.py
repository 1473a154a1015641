"""Progress while it runs: a small live display in a terminal, a line now and then elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TextIO

from backstay._base import now
from backstay.lab.compare import Tick
from backstay.lab.report._figures import count, duration_ms, memory_mb

__all__ = ["LiveProgress", "PlainProgress", "progress_for"]

_LINE_EVERY_S = 5.0
_MB = 1024 * 1024
_BAR = 24


class PlainProgress:
    """One line per phase and one every five seconds of load; for logs and pipes."""

    def __init__(self, write: Callable[[str], object]) -> None:
        """Write lines through `write`, which adds the line's end itself."""
        self._write = write
        self._began = now()
        self._last_line = float("-inf")

    def __enter__(self) -> PlainProgress:
        """Begin to count the time."""
        self._began = now()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave nothing open."""

    def phase(self, variant: str | None, what: str) -> None:
        """Write the phases that take long; each process that starts or stops would be noise."""
        if what == "load" or what.startswith("calibrating: what"):
            self._say(f"{variant}: {what}" if variant else what)
            self._last_line = float("-inf")

    def tick(self, tick: Tick) -> None:
        """Write a line when five seconds have passed since the last."""
        if now() - self._last_line >= _LINE_EVERY_S - 0.5:
            self._last_line = now()
            self._say(f"{tick.variant}: {describe(tick)}")

    def note(self, text: str) -> None:
        """Write it at once."""
        self._say(text)

    def _say(self, text: str) -> None:
        self._write(f"[{now() - self._began:5.0f} s] {text}")


class LiveProgress:
    """One line per variant that changes in place, drawn by rich."""

    def __init__(self, stream: TextIO) -> None:
        """Prepare to draw on `stream`, a terminal."""
        from rich.console import Console
        from rich.live import Live

        # First what is drawn: rich draws once while it is being made.
        self._began = now()
        self._phase = "starting"
        self._rows: dict[str, _LiveRow] = {}
        self._console: Any = Console(file=stream, highlight=False)
        self._live: Any = Live(
            console=self._console, refresh_per_second=2, transient=True, get_renderable=self._draw
        )

    def __enter__(self) -> LiveProgress:
        """Begin to draw."""
        self._began = now()
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop drawing and give the cursor back."""
        self._live.stop()

    def phase(self, variant: str | None, what: str) -> None:
        """Show what goes on now."""
        self._phase = f"{variant}: {what}" if variant else what
        if variant is not None:
            for name, row in self._rows.items():
                if name != variant:
                    row.phase = "done"
            self._rows.setdefault(variant, _LiveRow()).phase = what

    def tick(self, tick: Tick) -> None:
        """Show the second that is over."""
        self._rows.setdefault(tick.variant, _LiveRow()).see(tick)

    def note(self, text: str) -> None:
        """Print it above the display, where it stays."""
        self._console.print(f"[dim]{now() - self._began:4.0f} s[/]  {_escaped(text)}")

    def _draw(self) -> Any:
        from rich.table import Table

        table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False)
        for name in ("", "progress", "tasks", "peak", "ok/s", "failed/s", "p99", "memory"):
            table.add_column(name, justify="left" if name in ("", "progress") else "right")
        # A copy: rich draws in a thread of its own.
        for index, (name, row) in enumerate(list(self._rows.items())):
            style = ("dark_orange", "dodger_blue1")[index % 2]
            table.add_row(f"[{style}]{_escaped(name)}[/]", *row.cells())
        faults = [fault for row in list(self._rows.values()) for fault in row.faults]
        broken = f"  [yellow]⚡ {_escaped(', '.join(faults))}[/]" if faults else ""
        table.caption = f"[dim]{now() - self._began:.0f} s[/]  {_escaped(self._phase)}{broken}"
        table.caption_justify = "left"
        return table


@dataclass(slots=True)
class _LiveRow:
    """What stands in one variant's line."""

    phase: str = ""
    tick: Tick | None = None
    peak: int = 0

    @property
    def faults(self) -> tuple[str, ...]:
        """What is broken, while the load runs."""
        return self.tick.faults if self.tick is not None and self.phase == "load" else ()

    def see(self, tick: Tick) -> None:
        """Keep the newest second."""
        self.tick = tick
        self.peak = max(self.peak, tick.tasks or 0)

    def cells(self) -> list[str]:
        """Return the texts of the line."""
        if self.tick is None:
            return [self.phase, *[""] * 6]
        tick, second = self.tick, self.tick.second
        share = min(1.0, (second.second + 1) / tick.duration_s)
        full = round(_BAR * share)
        left = max(0.0, tick.duration_s - second.second - 1)
        rest = f"{left:.0f} s left" if left else self.phase if self.phase != "load" else "draining"
        return [
            f"{'━' * full}[dim]{'─' * (_BAR - full)}[/] {rest}",
            "–" if tick.tasks is None else count(tick.tasks),
            count(self.peak),
            count(second.ok),
            count(second.failed),
            "–" if second.p99_s is None else duration_ms(second.p99_s * 1e3),
            "–" if tick.rss is None else memory_mb(tick.rss / _MB),
        ]


def describe(tick: Tick) -> str:
    """Return a second of load as one line of plain text."""
    second = tick.second
    parts = [
        f"{min(second.second + 1, tick.duration_s):.0f}/{tick.duration_s:.0f} s",
        "tasks –" if tick.tasks is None else f"tasks {count(tick.tasks)}",
        f"ok {count(second.ok)}/s",
        f"failed {count(second.failed)}/s",
        f"p99 {'–' if second.p99_s is None else duration_ms(second.p99_s * 1e3)}",
        f"memory {'–' if tick.rss is None else memory_mb(tick.rss / _MB)}",
    ]
    if tick.faults:
        parts.append(f"broken: {', '.join(tick.faults)}")
    return "  ".join(parts)


def progress_for(stream: TextIO) -> PlainProgress | LiveProgress:
    """Return the live display when `stream` is a terminal and rich is there, else plain lines."""
    if stream.isatty():
        try:
            return LiveProgress(stream)
        except ImportError:
            pass  # the plain lines say the same; `backstay[lab]` brings rich
    return PlainProgress(lambda line: print(line, file=stream, flush=True))


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
