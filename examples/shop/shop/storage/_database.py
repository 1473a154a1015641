"""Opening SQLite the way this store needs it: WAL, explicit transactions, no surprises."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from shop.storage._errors import StoreError

# Another process may hold the write lock (a person with a shell, an old instance going down).
BUSY_TIMEOUT_S = 5.0
# After a checkpoint the log file is cut back to this size, so that a burst leaves no big file behind.
LOG_SIZE_LIMIT_BYTES = 16 * 1024 * 1024
# Pages kept per connection; the system caches the file anyway. SQLite's own 2 MiB would fill up
# with the database for minutes and look like a leak.
CACHE_KIB = 512


def open_writer(path: Path, schema: str, synchronous: str) -> sqlite3.Connection:
    """Open the read-write connection and apply `schema` (must be repeatable: IF NOT EXISTS).

    Raises:
        StoreError: the file cannot be opened or is no database, or the schema is wrong.
    """
    try:
        db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA synchronous = {synchronous}")
            db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            db.execute(f"PRAGMA journal_size_limit = {LOG_SIZE_LIMIT_BYTES}")
            db.execute("PRAGMA foreign_keys = ON")
            db.executescript(schema)
        except BaseException:
            db.close()
            raise
    except (sqlite3.Error, OSError) as error:
        raise StoreError(
            f"cannot open the database {path}: {error}; check the path, its rights and the schema"
        ) from error
    return db


def open_reader(path: Path) -> sqlite3.Connection:
    """Open a connection that cannot write.

    Raises:
        StoreError: the file cannot be opened.
    """
    try:
        db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        db.execute("PRAGMA query_only = ON")
        db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"cannot open the database {path} for reading: {error}") from error
    return db
