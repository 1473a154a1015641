"""Durable state of one process: SQLite behind one owned writer thread with group commit.

`Store` is the only door: `await store.write(fn)` and `await store.read(fn)`, where `fn` takes a
`sqlite3.Connection`. Why group commit: a disk does a few hundred commits a second, a shop under
load wants more; whoever waits meanwhile shares the next commit.
"""

from __future__ import annotations

from shop.storage._errors import StoreBusy, StoreClosed, StoreError
from shop.storage._statistics import StoreStatistics
from shop.storage._store import Store, Synchronous

__all__ = ["Store", "StoreBusy", "StoreClosed", "StoreError", "StoreStatistics", "Synchronous"]
