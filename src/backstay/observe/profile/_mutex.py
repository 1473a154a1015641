"""The mutex profile: what those do who have a lock, while others wait for it.

Go's is taken when a lock is let go, at the line that does so. A task may hold a lock across awaits, and what it does
there is what keeps the others; so here the holder is looked at again and again while somebody waits, and
the time of each waiter is put to where its holder was. Nothing is patched, and nothing is counted when nobody looks.
"""

from __future__ import annotations

import asyncio
from typing import Any

from backstay._base import wall
from backstay.leak import contention
from backstay.observe.profile._asked import Wait
from backstay.observe.profile._profile import Profile, Table, add, gathered
from backstay.observe.profile._tasks import line_of, running_task
from backstay.observe.profile._wall import sampled
from backstay.tasks import blocked_on, installed_loops

__all__ = ["MUTEX_KINDS", "MutexSampler", "mutex_profile"]

MUTEX_KINDS = (("contentions", "count"), ("delay", "nanoseconds"))

_MOST_STACKS = 50_000


class MutexSampler:
    """Puts the time of those who wait for a lock to what its holders do.

    Attributes:
        table: contentions and nanoseconds by stack and labels.
        left_out: looks that found a new stack when there were too many.
    """

    def __init__(self) -> None:
        """Prepare."""
        self.table: Table = {}
        self.left_out = 0
        self._before: set[tuple[int, int]] = set()  # who waited for whom at the last look, by id

    def look(self, elapsed_s: float) -> None:
        """Look once at every tracked loop; `elapsed_s` seconds have passed since the last look.

        Of several holders, as of a semaphore, each has an equal part.
        """
        present: set[tuple[int, int]] = set()
        for loop in installed_loops():
            running = running_task(loop)
            for waiter, holders in contention(loop):
                what = blocked_on(waiter)
                label = "lock" if what is None else what.label
                for holder in holders:
                    pair = id(waiter), id(holder)
                    present.add(pair)
                    delay_ns = elapsed_s * 1e9 / len(holders)
                    self._count(
                        holder, holder is running, label, pair not in self._before, delay_ns
                    )
        self._before = present

    def _count(
        self, holder: asyncio.Task[Any], running: bool, label: str, new: bool, delay_ns: float
    ) -> None:
        line = line_of(holder, running=running)
        if line is None:
            return
        labels = (*line.labels(), ("contended", label))
        if line.trace_id:
            labels = (*labels, ("trace_id", line.trace_id))
        key = line.stack, labels
        if key not in self.table and len(self.table) >= _MOST_STACKS:
            self.left_out += 1
            return
        add(self.table, key, (int(new), round(delay_ns)))


def mutex_profile(seconds: float, wait: Wait) -> Profile:
    """Sample for some seconds what keeps those who wait for locks, places and connections.

    Args:
        seconds: how long.
        wait: how to wait; may be cut short.

    Returns:
        Contentions (a task begins to wait for another) and the delay of all waiters together, by what the holder
        did. Holders are known of `Mutex`, `RWMutex`, `Semaphore`, `Pool`, `anyio.Lock` and, when they are in its
        block, of `asyncio.Lock`, `asyncio.BoundedSemaphore` and asyncpg's pool.

    Cost: at most 4 % of one processor, in the thread that calls.
    """
    sampler = MutexSampler()
    began = wall()
    sampled(sampler, seconds, wait)
    comments = ["sampled: the time of each waiter, by where the holder was meanwhile"]
    if sampler.left_out:
        comments.append(f"{sampler.left_out} samples of further stacks were left out")
    return Profile(
        MUTEX_KINDS,
        gathered(sampler.table),
        MUTEX_KINDS[0],
        1,
        taken_at=began,
        duration_s=wall() - began,
        comments=tuple(comments),
        default="delay",
    )
