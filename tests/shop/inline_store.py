"""A Store without threads: each job is one transaction, run at once. For tests in virtual time."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import TypeVar, cast

from shop.storage import Store

T = TypeVar("T")


class InlineStore:
    """Runs each job on the spot, in memory, with one checkpoint of the loop as a real one has."""

    def __init__(self, schema: str) -> None:
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        self.db.executescript(schema)

    async def write(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        await asyncio.sleep(0)
        self.db.execute("BEGIN")
        try:
            value = fn(self.db)
        except BaseException:
            self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")
        return value

    async def read(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        await asyncio.sleep(0)
        return fn(self.db)

    def all(self, sql: str) -> list[tuple[object, ...]]:
        return self.db.execute(sql).fetchall()

    def close(self) -> None:
        self.db.close()


def as_store(inline: InlineStore) -> Store:
    """The same object, for a parameter that asks for the real one."""
    return cast("Store", inline)
