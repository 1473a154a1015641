"""How a pool of workers is doing, as plain values."""

from __future__ import annotations

from dataclasses import dataclass

from backstay.sync._durations import Spread

__all__ = ["WorkerStatistics"]


@dataclass(frozen=True, slots=True)
class WorkerStatistics:
    """How a pool of workers is doing.

    Attributes:
        name: its name.
        workers: how many jobs may be under way at once.
        running: how many are, overrunning ones included.
        overrunning: functions in threads or processes that nobody waits for any more and that
            have not returned; each keeps its place.
        queue: how many jobs may be in line while all workers are busy.
        queued: how many are.
        submitting: callers that wait for room in that line.
        submitted: jobs taken so far.
        succeeded: jobs that returned.
        failed: jobs that raised, those that ran out of time included.
        timed_out: of these, those whose deadline passed while they were under way.
        expired: jobs that were never begun because their deadline passed in line.
        cancelled: jobs that were cancelled, in line or under way.
        dropped: jobs that were still in line when the pool was closed.
        rejected: callers that were refused.
        died: worker processes that died.
        wait: how long jobs were in line, of those that began.
        run: how long jobs were under way.
    """

    name: str
    workers: int
    running: int
    overrunning: int
    queue: int
    queued: int
    submitting: int
    submitted: int
    succeeded: int
    failed: int
    timed_out: int
    expired: int
    cancelled: int
    dropped: int
    rejected: int
    died: int
    wait: Spread
    run: Spread
