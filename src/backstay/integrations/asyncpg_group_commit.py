"""Many small writes, one COMMIT: what waits while one transaction is written to disk shares the next one.

Extra: ``pip install backstay[asyncpg]``. Tested with asyncpg 0.30 to 0.32 and PostgreSQL 15.

    async with group_commit(pool, name="orders") as orders:
        number = await orders.write(lambda connection: connection.fetchval("insert into ...", sku))

A commit waits for the disk, and a service that commits for each request waits for it as often. With a few
hundred requests a second that queue is what visitors wait in. Here no write waits for company: the first one begins
at once, and those that come meanwhile go together. The idea is as old as IMS Fast Path (DeWitt et al.,
"Implementation techniques for main memory database systems", SIGMOD 1984, section 5).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from backstay.errors import BackstayError
from backstay.guard import Pool
from backstay.integrations.asyncpg import Connection, transaction
from backstay.tasks import Scope, timeout

__all__ = ["GroupCommit", "GroupCommitStatistics", "NotCommitted", "group_commit"]

T = TypeVar("T")
Job = Callable[[Connection], Awaitable[T]]


class NotCommitted(BackstayError):
    """The transaction of a write failed as a whole, or the end came before its turn.

    Its cause says why. A connection that is lost during COMMIT leaves it open whether the write is there:
    repeat it under a key that makes the second one harmless.
    """


@dataclass(frozen=True, slots=True)
class GroupCommitStatistics:
    """What has been written so far.

    Attributes:
        waiting: writes whose turn has not come.
        committed: writes that are stored.
        failed: writes whose own error undid them, or whose transaction failed.
        skipped: writes whose caller had left before their turn.
        commits: transactions.
        largest: writes in the largest of them.
    """

    waiting: int
    committed: int
    failed: int
    skipped: int
    commits: int
    largest: int


class _Entry:
    __slots__ = ("answer", "error", "job", "value")

    def __init__(self, job: Job[Any], answer: asyncio.Future[Any]) -> None:
        self.job = job
        self.answer = answer
        self.value: Any = None
        self.error: Exception | None = None

    async def run(self, connection: Connection) -> None:
        """Do the job; its own error stays with it."""
        try:
            self.value = await self.job(connection)
        except Exception as error:
            self.error = error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            self.error = NotCommitted("something inside of the write was cancelled")
            self.error.__cause__ = error

    def tell(self) -> None:
        if self.answer.done():  # its caller has left
            return
        if self.error is not None:
            self.answer.set_exception(self.error)
            self.answer.exception()  # heard, also when its caller is cancelled before it can look
        else:
            self.answer.set_result(self.value)


class GroupCommit:
    """Writes in groups; made by `group_commit`."""

    def __init__(self, pool: Pool[Any], name: str, largest: int, budget: float) -> None:
        self.name = name
        self._pool = pool
        self._largest = largest
        self._budget = budget
        self._waiting: deque[_Entry] = deque()
        self._news = asyncio.Event()
        self._closed = False
        self._committed = self._failed = self._skipped = self._commits = self._most = 0

    async def write(self, job: Job[T]) -> T:
        """Do `job` in a transaction that it may share, and return its result once that is committed.

        Args:
            job: gets the connection; it runs in the task that writes, so that the ambient deadline and identity
                are not those of the caller. What it raises undoes it alone, and leaves here. It must not end
                the transaction.

        Raises:
            NotCommitted: the transaction failed as a whole, or this is closed.

        Cancelled: before its turn nothing has happened; afterwards it is committed, and nobody is told.

        Cost: two round trips more than a statement (its savepoint), none for a write alone in its group.
        """
        if self._closed:
            raise NotCommitted(f"group commit {self.name!r} is closed: nothing is written any more")
        entry = _Entry(job, asyncio.get_running_loop().create_future())
        self._waiting.append(entry)
        self._news.set()
        return cast("T", await entry.answer)

    def statistics(self) -> GroupCommitStatistics:
        """Return what has been written so far."""
        return GroupCommitStatistics(
            len(self._waiting),
            self._committed,
            self._failed,
            self._skipped,
            self._commits,
            self._most,
        )

    def _close(self) -> None:
        """Write what waits, and take no more."""
        self._closed = True
        self._news.set()

    async def _live(self) -> None:
        try:
            while self._waiting or not self._closed:
                group = self._next_group()
                if group:
                    await self._commit(group)
                elif not self._closed:
                    self._news.clear()
                    await self._news.wait()
        finally:
            self._closed = True
            self._give_up()

    def _next_group(self) -> list[_Entry]:
        group: list[_Entry] = []
        while self._waiting and len(group) < self._largest:
            entry = self._waiting.popleft()
            if entry.answer.done():
                self._skipped += 1
            else:
                group.append(entry)
        return group

    async def _commit(self, group: list[_Entry]) -> None:
        """Commit a group, and tell each of its callers; only a cancel leaves here."""
        try:
            async with timeout(self._budget), self._pool.take() as connection:
                await self._in_one(connection, group)
        except _AloneFailed:
            pass  # it was rolled back, and knows its own error
        except Exception as error:
            self._lose(group, error)
        except BaseException:
            self._lose(group, None)
            raise
        else:
            self._commits += 1
            self._most = max(self._most, len(group))
        failed = sum(entry.error is not None for entry in group)
        self._failed += failed
        self._committed += len(group) - failed
        for entry in group:
            entry.tell()

    async def _in_one(self, connection: Connection, group: list[_Entry]) -> None:
        async with transaction(connection):
            if len(group) == 1:  # what undoes the transaction undoes exactly this one
                await group[0].run(connection)
                if group[0].error is not None:
                    raise _AloneFailed
                return
            for entry in group:
                await _within_savepoint(connection, entry)

    def _lose(self, group: list[_Entry], cause: Exception | None) -> None:
        """Let each of a group know that its transaction is not, or not known to be, stored."""
        for entry in group:
            if entry.error is None:
                entry.error = _not_committed(self.name, cause)
        if cause is None:  # cancelled: nobody comes back to tell them
            self._failed += len(group)
            for entry in group:
                entry.tell()

    def _give_up(self) -> None:
        """Tell those that wait that their turn will not come."""
        while self._waiting:
            entry = self._waiting.popleft()
            entry.error = NotCommitted(f"group commit {self.name!r} ended before this write's turn")
            self._failed += 1
            entry.tell()


class _AloneFailed(Exception):
    """Takes the transaction of a lone write back; its own error stays with it."""


def _not_committed(name: str, cause: Exception | None) -> NotCommitted:
    why = "it was cancelled" if cause is None else f"{type(cause).__name__}: {cause}"
    error = NotCommitted(
        f"the transaction of group commit {name!r} failed ({why}): ask whether the row is there, or repeat"
    )
    error.__cause__ = cause
    return error


async def _within_savepoint(connection: Connection, entry: _Entry) -> None:
    """Run one job; its own error stays with it, an error of the transaction leaves."""
    await connection.execute("SAVEPOINT job")
    await entry.run(connection)
    if entry.error is not None:
        await connection.execute("ROLLBACK TO SAVEPOINT job")
    await connection.execute("RELEASE SAVEPOINT job")


@asynccontextmanager
async def group_commit(
    pool: Pool[Any], *, name: str = "writes", largest: int = 64, budget: float = 5.0
) -> AsyncGenerator[GroupCommit]:
    """Own a task that writes in groups, for the length of a block.

    Args:
        pool: of asyncpg connections; one of them is taken for each group.
        name: in errors, and of the scope that owns the task.
        largest: writes in one transaction, at most: each holds its row locks until all are done.
        budget: seconds that a group may take, on the server too; then it is rolled back.

    Raises:
        ValueError: `largest` or `budget` is not positive.

    Cancelled: the group that is being written is rolled back, and its callers, as those who wait, get `NotCommitted`.

    Leaving the block writes what waits, and takes no more.
    """
    if largest < 1 or not budget > 0:
        raise ValueError(f"largest={largest} and budget={budget}: both must be positive")
    made = GroupCommit(pool, name, largest, budget)
    async with Scope(f"group commit {name}") as scope:
        scope.go(made._live)
        try:
            yield made
        finally:
            made._close()
