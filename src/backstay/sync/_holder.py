"""Who holds a lock: the words for errors, dumps and statistics."""

from __future__ import annotations

from asyncio import Task
from dataclasses import dataclass
from typing import Any

from backstay.errors import LockMisuse
from backstay.sync._home import Place, line_at, read_clock
from backstay.tasks import blocked_on

__all__ = ["Holder", "describe", "held_by", "misuse"]


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock, since when, and what it does meanwhile.

    It keeps no reference to the task.

    Attributes:
        task: the name of the task.
        since: when it took the lock, seconds on the clock of `now()`.
        held_s: seconds since then.
        site: "file:line" where it took the lock; "" for a lock that nobody ever had to
            wait for, since noting the line costs a quarter of taking such a lock.
        doing: what it waits for now, such as "sleep at cache.py:41"; "" when it runs;
            "ended" when it ended and left the lock behind.
    """

    task: str
    since: float
    held_s: float
    site: str
    doing: str

    def __str__(self) -> str:
        """Say it in one clause: ``task 'a' has held it for 3.2 s (taken at …, now in …)``."""
        notes = [f"taken at {self.site}"] if self.site else []
        if self.doing == "ended":
            notes.append("and that task has ended")
        elif self.doing:
            notes.append(f"now in {self.doing}")
        extra = f" ({', '.join(notes)})" if notes else ""
        return f"task {self.task!r} has held it for {self.held_s:.3g} s{extra}"


def describe(task: Task[Any], since: float, place: Place | None) -> Holder:
    """Look at a holder now."""
    if task.done():
        doing = "ended"
    else:
        waits = blocked_on(task)
        doing = "" if waits is None else str(waits)
    return Holder(task.get_name(), since, read_clock.read() - since, line_at(place), doing)


def held_by(name: str, task: Task[Any], since: float) -> str:
    """Say in a few words who holds a lock: ``'cache' held by 'worker-3' for 3.2 s``."""
    return f"{name!r} held by {task.get_name()!r} for {max(0.0, read_clock.read() - since):.1f} s"


def misuse(lock: str, what: str, holder: Holder | None, advice: str) -> LockMisuse:
    """Build the error: what was tried, who holds the lock, what to do."""
    holds = "nobody holds it" if holder is None else str(holder)
    return LockMisuse(
        f"{what}: {holds}. {advice}",
        lock=lock,
        holder=None if holder is None else holder.task,
        held_s=None if holder is None else holder.held_s,
    )
