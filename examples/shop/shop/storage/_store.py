"""The store: what a service sees of its database."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeVar, cast

from shop.storage._database import open_reader, open_writer
from shop.storage._group_commit import GroupCommit
from shop.storage._job import Job
from shop.storage._lane import Lane
from shop.storage._statistics import StoreStatistics

T = TypeVar("T")
Synchronous = Literal["NORMAL", "FULL"]


class Store:
    """One SQLite file, one writer thread with group commit, one reader thread.

    Args:
        path: the database file; its directory must exist.
        schema: SQL run at every start, hence CREATE ... IF NOT EXISTS.
        synchronous: "NORMAL" survives a killed process; a power cut may lose the last moments, but
            never tears a transaction. "FULL" waits for the disk at each commit and loses nothing.
        batch_limit: most jobs in one commit.
        queue_limit: most jobs waiting per thread before callers hear StoreBusy.
    """

    def __init__(
        self,
        path: str | Path,
        schema: str,
        *,
        synchronous: Synchronous = "NORMAL",
        batch_limit: int = 200,
        queue_limit: int = 10_000,
    ) -> None:
        self.path = Path(path)
        self._commits = GroupCommit()
        self._reads = 0
        self._writer = Lane(
            f"store-writer {self.path.name}",
            open_connection=lambda: open_writer(self.path, schema, synchronous),
            run_batch=self._commits.run,
            batch_limit=batch_limit,
            limit=queue_limit,
        )
        self._reader = Lane(
            f"store-reader {self.path.name}",
            open_connection=lambda: open_reader(self.path),
            run_batch=self._run_reads,
            # Reads gain nothing from waiting for each other; a few share one wake-up of the loop.
            batch_limit=8,
            limit=queue_limit,
        )

    async def start(self) -> Self:
        """Open the database and start both threads.

        Raises:
            StoreError: the file cannot be opened, or the schema is wrong; no thread is left.
        """
        await self._writer.start()
        try:
            await self._reader.start()
        except BaseException:
            await self._writer.close()
            raise
        return self

    async def write(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Run `fn` in the next group commit and return its value once it is committed.

        `fn` runs on the writer thread, inside a transaction: no COMMIT, no `executescript`, nothing
        slow. Put the business row and its outbox row into the same `fn`: both are stored or none.

        Raises:
            StoreBusy: too many jobs wait; nothing was written.
            StoreClosed: the store is not open.
            StoreError: the commit failed. Ask whether the row is there, or repeat an idempotent write.
            Exception: whatever `fn` raised; its changes are undone, other callers' are not.
        Cancelled: a job that has not begun is dropped; one that has begun still commits. A
            cancelled caller therefore does not know, and must ask (or be idempotent).
        """
        return await self._run(self._writer, fn)

    def write_behind(self, fn: Callable[[sqlite3.Connection], object]) -> None:
        """Queue `fn` for the next group commit and do not wait; its error is dropped.

        For clean-up that must also happen when the caller is being cancelled. Runs after every
        write that was queued before it.

        Raises:
            StoreBusy: too many jobs wait.
            StoreClosed: the store is not open.
        """
        self._writer.put(Job(fn, None, asyncio.get_running_loop()))

    async def read(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Run `fn` on the read-only connection, within one snapshot, and return its value.

        A read that starts after a write returned sees that write.

        Raises:
            StoreBusy: too many reads wait.
            StoreClosed: the store is not open.
            Exception: whatever `fn` raised (`sqlite3.OperationalError` when it tried to write).
        Cancelled: the read may still run; nothing is left behind.
        """
        return await self._run(self._reader, fn)

    async def close(self) -> None:
        """Commit what is queued, then end both threads. Harmless when called again.

        Cancelled: the threads still finish their queues and end by themselves.
        """
        try:
            await self._reader.close()
        finally:
            await self._writer.close()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def statistics(self) -> StoreStatistics:
        """Counters and commit times since the start."""
        commits = self._commits
        return StoreStatistics(
            queued=self._writer.waiting,
            reading=self._reader.waiting,
            jobs=commits.jobs,
            failed_jobs=commits.failed,
            skipped_jobs=commits.skipped,
            batches=commits.batches,
            mean_batch=(commits.jobs + commits.failed) / commits.batches
            if commits.batches
            else 0.0,
            largest_batch=commits.largest,
            reads=self._reads,
            commit_p50_s=commits.commit_quantile(0.50),
            commit_p99_s=commits.commit_quantile(0.99),
        )

    async def _run(self, lane: Lane, fn: Callable[[sqlite3.Connection], T]) -> T:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[object] = loop.create_future()
        lane.put(Job(fn, future, loop))
        return cast("T", await future)

    def _run_reads(self, db: sqlite3.Connection, batch: list[Job]) -> None:
        for job in batch:
            if job.abandoned:
                continue
            try:
                db.execute("BEGIN")
                job.value = job.fn(db)
            except BaseException as error:  # it belongs to the caller, whatever it is
                job.error = error
            finally:
                if db.in_transaction:
                    db.execute(
                        "ROLLBACK"
                    )  # only reads: nothing to keep, and the snapshot is let go
            self._reads += 1
