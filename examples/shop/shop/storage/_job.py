"""One piece of work for a store's thread, and the way its outcome returns to its event loop.

Threads and loops meet here and nowhere else. A future belongs to its loop, so the thread only
*stores* the outcome; `deliver` then wakes each loop once per batch, and the loop resolves.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Job:
    """`fn` to be run with a connection; the outcome is `value`, or `error` when that is set."""

    fn: Callable[[sqlite3.Connection], object]
    future: asyncio.Future[object] | None  # None: nobody waits (written behind)
    loop: asyncio.AbstractEventLoop = field(repr=False)
    value: object = None
    error: BaseException | None = None

    @property
    def abandoned(self) -> bool:
        """Whether the caller was cancelled. Read from the thread: stale at worst, never wrong twice."""
        return self.future is not None and self.future.cancelled()

    def settle(self) -> None:
        """Hand the outcome to the waiting caller, if it still waits. Runs on the loop."""
        future = self.future
        if future is None or future.done():  # cancelled meanwhile: the outcome is nobody's
            return
        if self.error is None:
            future.set_result(self.value)
        elif isinstance(self.error, StopIteration):  # asyncio refuses to carry it
            problem = RuntimeError("a store job raised StopIteration: catch it inside the job")
            problem.__cause__ = self.error
            future.set_exception(problem)
        else:
            future.set_exception(self.error)


def deliver(jobs: Iterable[Job]) -> None:
    """Resolve finished `jobs`, waking each event loop once. Runs on the store's thread."""
    per_loop: dict[asyncio.AbstractEventLoop, list[Job]] = {}
    for job in jobs:
        per_loop.setdefault(job.loop, []).append(job)
    for loop, batch in per_loop.items():
        # RuntimeError = the loop is closed: nobody is left who could be told.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle_all, batch)


def _settle_all(jobs: list[Job]) -> None:
    for job in jobs:
        job.settle()
