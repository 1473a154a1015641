"""What is still alive at the end, in words for the last lines of the log."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from backstay.tasks import blocked_on, info

__all__ = ["Leftover", "leftovers"]


@dataclass(frozen=True, slots=True)
class Leftover:
    """Tasks that were still alive, alike ones counted together."""

    count: int
    name: str  # of one of them
    coroutine: str  # what it runs
    owner: str  # names from the root scope to its own, joined by "/"; "" when nobody owns it
    site: str  # "file:line" that started it; "" when unknown
    blocked_on: str  # in words, with the await site; "" when unknown

    def __str__(self) -> str:
        """Say it in one line."""
        what = f"{self.name!r} ({self.coroutine})"
        many = f"{self.count} tasks like {what}" if self.count > 1 else f"task {what}"
        owner = f" owned by {self.owner}" if self.owner else " without owner"
        site = f", started at {self.site}" if self.site else ""
        blocked = f", waits for {self.blocked_on}" if self.blocked_on else ""
        return f"{many}{owner}{site}{blocked}"


def leftovers(tasks: Iterable[asyncio.Task[Any]]) -> list[Leftover]:
    """Describe `tasks`, the most numerous kind first; callable from any thread.

    Cost: some ten microseconds a task.
    """
    found: dict[tuple[str, str, str, str], Leftover] = {}
    for task in tasks:
        card = info(task)
        waits = blocked_on(task)
        one = Leftover(
            count=1,
            name=card.name,
            coroutine=card.coroutine,
            owner="/".join(card.owner_path),
            site="" if card.site is None else str(card.site),
            blocked_on="" if waits is None else str(waits),
        )
        key = (one.coroutine, one.owner, one.site, "" if waits is None else waits.label)
        before = found.get(key)
        found[key] = one if before is None else replace(before, count=before.count + 1)
    return sorted(found.values(), key=lambda one: -one.count)
