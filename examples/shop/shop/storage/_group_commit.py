"""Group commit: many jobs, one COMMIT.

Each job runs inside its own SAVEPOINT, so that a failing job is undone alone and the others
commit. A job alone in its batch needs none: there ROLLBACK undoes exactly it.

Everything here runs on the writer thread. The counters are written by that thread only and read
by others as single attributes, hence without a lock.
"""

from __future__ import annotations

import sqlite3
import time
from collections import deque

from shop.storage._errors import StoreError
from shop.storage._job import Job

COMMITS_REMEMBERED = 1024


class GroupCommit:
    """Runs batches of jobs in one transaction each, and keeps count."""

    def __init__(self) -> None:
        self.jobs = 0
        self.failed = 0
        self.skipped = 0
        self.batches = 0
        self.largest = 0
        self.commit_s: deque[float] = deque(maxlen=COMMITS_REMEMBERED)

    def run(self, db: sqlite3.Connection, batch: list[Job]) -> None:
        """Run and commit `batch`; each job ends up with its value or its error. Never raises."""
        live = [job for job in batch if not job.abandoned]
        self.skipped += len(batch) - len(live)
        if not live:
            return
        try:
            db.execute("BEGIN IMMEDIATE")
            for job in live:
                _run_one(db, job, alone=len(live) == 1)
            began = time.monotonic()
            if db.in_transaction:  # not after the rollback of a lone failure
                db.execute("COMMIT")
            self.commit_s.append(time.monotonic() - began)
        except sqlite3.Error as error:
            _abandon(db, live, error)
        self.batches += 1
        self.largest = max(self.largest, len(live))
        failed = sum(job.error is not None for job in live)
        self.failed += failed
        self.jobs += len(live) - failed

    def commit_quantile(self, share: float) -> float:
        """The commit time that `share` (0..1) of the remembered commits did not exceed, seconds."""
        seen = sorted(self.commit_s.copy())
        return seen[min(len(seen) - 1, int(share * len(seen)))] if seen else 0.0


def _run_one(db: sqlite3.Connection, job: Job, *, alone: bool) -> None:
    """Run one job; its own error stays with it.

    Raises:
        sqlite3.Error: the transaction itself is broken (the caller gives up the batch).
    """
    if not alone:
        db.execute("SAVEPOINT job")
    try:
        job.value = job.fn(db)
    except BaseException as error:  # it belongs to the caller, whatever it is
        job.error = error
    if not db.in_transaction:
        # SQLite undid everything by itself (disk full, I/O error), or the job ended the transaction.
        # Either way the jobs before this one are no longer in our hands.
        raise sqlite3.OperationalError(
            f"the transaction ended inside a job ({job.error or 'no COMMIT, ROLLBACK or executescript() in a job'})"
        )
    if alone:
        if job.error is not None:
            db.execute("ROLLBACK")
    else:
        if job.error is not None:
            db.execute("ROLLBACK TO job")
        db.execute("RELEASE job")


def _abandon(db: sqlite3.Connection, jobs: list[Job], cause: sqlite3.Error) -> None:
    """The batch is lost: tell each caller. What a rule-breaking job committed stays stored."""
    if db.in_transaction:
        db.execute("ROLLBACK")
    for job in jobs:
        if job.error is None:
            job.value = None
            job.error = StoreError(
                f"the batch was not committed; ask whether your row is there, or repeat: {cause}"
            )
            job.error.__cause__ = cause
