"""What keeps a process alive: the answer, for people, for machines and for a log at the end.

Tasks are only one of the things that a program leaves behind. A thread that is not a
daemon, a job in an executor, a child process, a timer that comes round again: each can
keep a process from ending, or a test from being clean. Here they are named, each with
the line that a person would change.
"""

from __future__ import annotations

import asyncio
import textwrap
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from backstay.leak._keeper import KEEPER_KINDS, Keeper
from backstay.leak._keepers_of_loop import loop_keepers
from backstay.leak._keepers_of_process import process_keepers
from backstay.tasks import installed_loops, live_tasks

__all__ = ["Keepers", "keepers", "left_over"]

_MOST_OF_A_KIND = 100
_WIDTH = 100

_TITLES = {
    "thread": "threads that are no daemons",
    "job": "jobs in threads of executors",
    "process": "child processes",
    "server": "servers that listen",
    "connection": "open connections",
    "timer": "timers",
    "watch": "watched file descriptors",
    "signal": "signal handlers",
}


@dataclass(frozen=True, slots=True)
class Keepers:
    """What was found; plain values that keep nothing alive."""

    found: tuple[Keeper, ...]  # those that hold up the exit first, then by kind
    left_out: dict[str, int]  # by kind, how many beyond the first hundred are not in `found`
    tasks: int  # living tasks of the loops looked at
    loops: int  # how many loops were looked at

    @property
    def holding(self) -> tuple[Keeper, ...]:
        """Those without whose end the interpreter does not exit."""
        return tuple(one for one in self.found if one.holds_exit)

    def to_json(self) -> dict[str, object]:
        """Return the fields as they are, as a document of plain values."""
        return {
            "format": 1,
            "found": [asdict(one) for one in self.found],
            "left_out": dict(self.left_out),
            "tasks": self.tasks,
            "loops": self.loops,
        }

    def to_text(self) -> str:
        """Return the answer as a page for a terminal."""
        holding = self.holding
        head = f"backstay leaks --alive · {self.tasks:,} tasks alive · " + (
            f"{len(holding)} hold up the exit"
            if holding
            else "nothing but the loop itself holds up the exit"
        )
        blocks = [head]
        for kind in KEEPER_KINDS:
            rows = [one for one in self.found if one.kind == kind]
            if not rows:
                continue
            more = self.left_out.get(kind, 0)
            lines = [f"{_TITLES[kind]}:"]
            lines += [_wrapped(f"{'!' if one.holds_exit else ' '} {one}") for one in rows]
            if more:
                lines.append(f"    … and {more:,} more")
            blocks.append("\n".join(lines))
        if holding:
            blocks.append("! = the interpreter waits for it at exit")
        return "\n\n".join(blocks) + "\n"


def keepers(loop: asyncio.AbstractEventLoop | None = None) -> Keepers:
    """Say what keeps this process, and its loops, alive; callable from any thread.

    Timers that wait (not those of Backstay's own clock), threads that are no daemons and where
    they stand, jobs that run in threads of executors, child processes (never their arguments, in
    which secrets stand), servers, connections, watched descriptors and signal handlers.

    Args:
        loop: whose timers, servers and connections; all tracked loops and the running one
            when omitted. Threads and processes are always those of the whole process.

    Returns:
        What was found; at most a hundred of a kind, alike ones counted together.

    Cost: some 10 microseconds for each timer, connection and thread. Child processes are read from
        ``/proc``; where there is none they are left out.
    """
    loops = [loop] if loop is not None else _loops()
    found: list[Keeper] = [*process_keepers([one for one in loops if not one.is_closed()])]
    tasks = 0
    for one in loops:
        if not one.is_closed():
            found += loop_keepers(one)
            tasks += len(live_tasks(one))
    order = {kind: place for place, kind in enumerate(KEEPER_KINDS)}
    found.sort(key=lambda one: (not one.holds_exit, order[one.kind], one.name, one.site))
    kept, left_out = _bounded(found)
    return Keepers(tuple(kept), left_out, tasks, len(loops))


def left_over(loop: asyncio.AbstractEventLoop | None = None) -> list[str]:
    """Return what is left, one sentence each, for the log at the end of a shutdown.

    Those that hold up the exit come first. Args and cost: as `keepers`.
    """
    return [f"{one.kind}: {one}" for one in keepers(loop).found if one.kind != "signal"]


def _loops() -> list[asyncio.AbstractEventLoop]:
    loops = installed_loops()
    running = asyncio._get_running_loop()
    if running is not None and running not in loops:
        loops.append(running)
    return loops


def _bounded(found: Iterable[Keeper]) -> tuple[list[Keeper], dict[str, int]]:
    kept: list[Keeper] = []
    seen: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    for one in found:
        seen[one.kind] += 1
        if seen[one.kind] <= _MOST_OF_A_KIND:
            kept.append(one)
        else:
            left_out[one.kind] += one.count
    return kept, dict(left_out)


def _wrapped(text: str) -> str:
    return textwrap.fill(
        text,
        width=_WIDTH,
        initial_indent="  ",
        subsequent_indent="      ",
        break_long_words=False,
        break_on_hyphens=False,
    )
