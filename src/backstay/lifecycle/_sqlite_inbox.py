"""An inbox in a SQLite file, with a thread of its own that does all of its work.

Why one thread: SQLite has one writer anyway, and a thread that does everything in the order in which
it was asked makes cancelling simple. A roll-back that is put behind whatever runs needs nobody to wait
for it, so it can be asked for where nobody may wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from backstay._base import wall
from backstay.errors import LifecycleMisuse
from backstay.sync import Mutex

if TYPE_CHECKING:  # at run time when an inbox is opened: some Pythons have no SQLite
    import sqlite3

__all__ = ["SqliteInbox", "SqliteTransaction"]

R = TypeVar("R")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS inbox (
    consumer TEXT NOT NULL, message_id TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (consumer, message_id)
) WITHOUT ROWID
"""
_BUSY_S = 10.0  # for another process that writes to the same file


class SqliteTransaction:
    """A transaction that is open in the thread of a `SqliteInbox`."""

    __slots__ = ("_inbox",)

    def __init__(self, inbox: SqliteInbox) -> None:
        """Made by `SqliteInbox.transaction`."""
        self._inbox = inbox

    async def execute(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run one statement; return its rows.

        Raises:
            sqlite3.Error: what is wrong with it.
        """
        return await self.run(lambda db: db.execute(sql, parameters).fetchall())

    async def run(self, work: Callable[[sqlite3.Connection], R]) -> R:
        """Run a function with the connection, in the thread; it must not commit.

        Raises:
            Exception: what it raises.

        Cancelled: it runs to its end, and is rolled back.
        """
        return await self._inbox._do(work)


class SqliteInbox:
    """Keeps effects and the ids of their messages in one SQLite file; an async context manager.

    ::

        async with SqliteInbox("orders.sqlite3", consumer="orders") as inbox:
            await inbox.run(lambda db: db.execute("CREATE TABLE IF NOT EXISTS shipment (id TEXT)"))
            ...  # once(inbox, delivery.message_id, effect)

    Several consumers, and several processes, may use one file. Transactions of one inbox come one after
    the other.

    Cost: a transaction is four visits to the thread and one commit, which waits for the disk.
    """

    def __init__(self, path: str | Path, *, consumer: str = "") -> None:
        """Describe it; the file is opened on entering.

        Args:
            path: of the file; made when it is not there.
            consumer: whose messages: each name has notes of its own.
        """
        self._path = path
        self._consumer = consumer
        self._turn = Mutex(f"inbox {consumer}".rstrip())
        self._thread: ThreadPoolExecutor | None = None
        self._db: sqlite3.Connection | None = None

    async def __aenter__(self) -> SqliteInbox:
        """Open the file.

        Raises:
            sqlite3.Error: it is no database, or may not be written.
            LifecycleMisuse: it is open.
        """
        if self._thread is not None:
            raise LifecycleMisuse(f"the inbox {str(self._path)!r} is open: enter it once")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="backstay-inbox")
        try:
            await _in_its_own_time(self._thread.submit(self._open))
        except BaseException:
            self._shut()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close the file, once the transaction that is open has ended.

        Cancelled: it is closed all the same, behind that transaction.
        """
        async with self._turn:
            self._shut()

    def _shut(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.submit(self._close)
            thread.shutdown(wait=False)

    def _open(self) -> None:
        import sqlite3

        # Made and used in this thread alone.
        self._db = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute(_SCHEMA)

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[SqliteTransaction]:
        """Open a transaction; see `Inbox`.

        Cancelled: it is rolled back, unless it was about to commit.
        """
        async with self._turn:
            try:
                await self._do(lambda db: db.execute("BEGIN IMMEDIATE"))
                yield SqliteTransaction(self)
                await self._do(lambda db: db.commit())
            except BaseException:
                # Behind whatever runs in the thread, and ahead of whoever comes next: a commit
                # that was under way has happened, and leaves nothing to roll back.
                self._submit(_roll_back)
                raise

    async def begin(self, transaction: SqliteTransaction, message_id: str) -> bool:
        """Note a message; see `Inbox`."""
        note = "INSERT OR IGNORE INTO inbox (consumer, message_id, at) VALUES (?, ?, ?)"
        values = (self._consumer, message_id, wall())
        return await transaction.run(lambda db: db.execute(note, values).rowcount == 0)

    async def run(self, work: Callable[[sqlite3.Connection], R]) -> R:
        """Run a function in a transaction of its own, for what no message has brought.

        Raises:
            Exception: what it raises; then nothing was done.
        """
        async with self.transaction() as transaction:
            return await transaction.run(work)

    async def forget(self, age: float) -> int:
        """Forget messages that were noted more than `age` seconds ago; return how many.

        Keep them for longer than the broker can deliver one again: its longest back-off times the attempts, and
        the time for which it keeps messages while all consumers are away.
        """
        drop = "DELETE FROM inbox WHERE consumer = ? AND at < ?"
        values = (self._consumer, wall() - age)
        return await self.run(lambda db: db.execute(drop, values).rowcount)

    async def _do(self, work: Callable[[sqlite3.Connection], R]) -> R:
        return await _in_its_own_time(self._submit(work))

    def _submit(self, work: Callable[[sqlite3.Connection], R]) -> Future[R]:
        if self._thread is None:
            raise LifecycleMisuse(
                f"the inbox {str(self._path)!r} is not open: use it inside of 'async with'"
            )
        return self._thread.submit(self._with_connection, work)

    def _with_connection(self, work: Callable[[sqlite3.Connection], R]) -> R:
        assert self._db is not None
        return work(self._db)


def _roll_back(db: sqlite3.Connection) -> None:
    if db.in_transaction:
        db.rollback()


async def _in_its_own_time(future: Future[R]) -> R:
    """Wait for the thread; a cancel ends the waiting, and not the work."""
    return await asyncio.shield(asyncio.wrap_future(future))
