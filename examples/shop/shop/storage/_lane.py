"""A thread with a queue of jobs, owned by a store: one lane writes, one reads.

Life of a lane, in order:
1. `start` makes the thread; it opens its connection and reports success or the error.
2. `put` adds a job. The queue is bounded: past `limit` the caller hears StoreBusy at once.
3. The thread takes what has piled up, at most `batch_limit` jobs, runs them, delivers the outcomes.
4. `close` puts the end mark. Jobs in front of it are still run; the thread then closes its
   connection and ends. A job that slipped in behind the mark is answered with StoreClosed.

The thread is a daemon: a process that forgot to close its store (or whose loop died) still exits.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable

from shop.storage._errors import StoreBusy, StoreClosed, StoreError
from shop.storage._job import Job, deliver


class Lane:
    """One owned thread, one connection, one queue."""

    def __init__(
        self,
        name: str,
        *,
        open_connection: Callable[[], sqlite3.Connection],
        run_batch: Callable[[sqlite3.Connection, list[Job]], None],
        batch_limit: int,
        limit: int,
    ) -> None:
        self.name = name
        self._open_connection = open_connection
        self._run_batch = run_batch
        self._batch_limit = batch_limit
        self._limit = limit
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._at_work = 0  # jobs taken from the queue and not finished; written by the thread only
        self._thread: threading.Thread | None = None
        self._ended: asyncio.Future[None] | None = None
        self._open = False

    @property
    def waiting(self) -> int:
        """Jobs in the queue or at work."""
        return self._queue.qsize() + self._at_work

    async def start(self) -> None:
        """Start the thread and wait until its connection is open.

        Raises:
            StoreError: started twice, or the connection could not be opened; no thread is left.
        """
        if self._thread is not None:
            raise StoreError(f"{self.name} was started before: make a new store instead")
        loop = asyncio.get_running_loop()
        started: asyncio.Future[None] = loop.create_future()
        self._ended = loop.create_future()
        self._thread = threading.Thread(
            target=self._main, args=(loop, started, self._ended), name=self.name, daemon=True
        )
        self._thread.start()
        self._open = True
        try:
            await started
        except BaseException:
            await self.close()
            raise

    def put(self, job: Job) -> None:
        """Queue one job.

        Raises:
            StoreClosed: the lane is not open.
            StoreBusy: too many jobs wait.
        """
        if not self._open:
            raise StoreClosed(
                f"{self.name} is not open: start the store first, and use it before close()"
            )
        if self.waiting >= self._limit:
            raise StoreBusy(
                f"{self.waiting} jobs wait in {self.name}, the limit is {self._limit}: try later"
            )
        self._queue.put(job)

    async def close(self) -> None:
        """Finish what is queued, then end and join the thread. Harmless when called again.

        Cancelled: the thread still finishes its queue and ends by itself.
        """
        if self._open:
            self._open = False
            self._queue.put(None)
        if self._thread is None or self._ended is None:
            return
        await asyncio.shield(self._ended)
        self._thread.join()  # the thread's last act was to resolve `_ended`: this returns at once

    def _main(
        self,
        loop: asyncio.AbstractEventLoop,
        started: asyncio.Future[None],
        ended: asyncio.Future[None],
    ) -> None:
        try:
            try:
                db = self._open_connection()
            except Exception as error:  # whatever it is, start() must hear it
                _tell(loop, started, error)
            else:
                _tell(loop, started, None)
                with contextlib.closing(db):
                    self._serve(db)
        finally:
            self._refuse_rest()
            _tell(loop, ended, None)

    def _serve(self, db: sqlite3.Connection) -> None:
        last = False
        while not last:
            batch, last = self._take()
            if batch:
                self._run(db, batch)
                self._at_work = 0  # before the callers know: they may count at once
                deliver(batch)
            # A batch must not outlive its turn: results may be large, futures hold whole tasks.
            del batch

    def _run(self, db: sqlite3.Connection, batch: list[Job]) -> None:
        """Run a batch; whatever breaks, each caller gets an answer and the thread goes on."""
        try:
            self._run_batch(db, batch)
        except Exception as error:
            for job in batch:
                job.error = StoreError(
                    f"{self.name} failed; ask whether your row is there: {error}"
                )
                job.error.__cause__ = error

    def _take(self) -> tuple[list[Job], bool]:
        """Wait for one job, then take along what has piled up. True = the end mark was reached."""
        batch: list[Job] = []
        job = self._queue.get()
        while job is not None:
            batch.append(job)
            self._at_work = len(batch)
            if len(batch) == self._batch_limit:
                return batch, False
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _refuse_rest(self) -> None:
        """Answer whatever is behind the end mark, so that no caller waits for ever."""
        rest: list[Job] = []
        with contextlib.suppress(queue.Empty):
            while True:
                job = self._queue.get_nowait()
                if job is not None:
                    job.error = StoreClosed(f"{self.name} was closed before this job began")
                    rest.append(job)
        deliver(rest)


def _tell(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[None], error: BaseException | None
) -> None:
    """Resolve `future` on its loop, from a thread; a closed loop has nobody to tell."""

    def resolve() -> None:
        if future.done():
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(resolve)
