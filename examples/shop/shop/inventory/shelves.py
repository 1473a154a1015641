"""The shelves: every movement of goods, each one transaction in inventory's file.

A reservation is HELD, and from there CONFIRMED (sold), RELEASED (given back) or EXPIRED (its time
was up). The table's CHECK `reserved <= on_hand` is the last wall against overselling.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence

from shop.business.orders import Line, decode_lines, encode_lines
from shop.storage import Store

SWEEP_BATCH = 200


class Shelves:
    """The goods of one inventory service.

    Args:
        store: its started SQLite file with `schema.INVENTORY` and the stock rows.
        clock: unix seconds; tests pass their own.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    async def reserve(self, order_id: str, lines: tuple[Line, ...], ttl_s: float) -> bool:
        """Hold goods for an order, or renew the hold.

        Args:
            order_id: the order; asking twice holds once.
            lines: what to hold; all of it or nothing.
            ttl_s: seconds until the hold ends by itself.

        Returns:
            True when the goods are held or already sold to this order.
        """
        until = self._clock() + ttl_s
        return await self._store.write(lambda db: _reserve(db, order_id, lines, until))

    async def confirm(self, order_ids: Sequence[str]) -> list[str]:
        """Sell held goods.

        Args:
            order_ids: the orders.

        Returns:
            The orders whose goods could not be had any more.
        """
        return await self._store.write(
            lambda db: [each for each in order_ids if not _confirm(db, each)]
        )

    async def release(self, order_ids: Sequence[str]) -> None:
        """Put held goods back; an order never seen can then not be reserved later.

        Args:
            order_ids: the orders.
        """
        await self._store.write(lambda db: _release_all(db, order_ids))

    async def sweep(self) -> int:
        """End holds whose time is up, a batch at a time.

        Returns:
            How many ended.
        """
        now = self._clock()
        return await self._store.write(lambda db: _sweep(db, now))


def _reserve(db: sqlite3.Connection, order_id: str, lines: tuple[Line, ...], until: float) -> bool:
    state = _state(db, order_id)
    if state == "CONFIRMED":
        return True
    if state == "RELEASED":
        return False
    if state == "HELD":
        db.execute("UPDATE reservation SET expires_at = ? WHERE order_id = ?", (until, order_id))
        return True
    if not _hold(db, lines):
        return False
    db.execute(
        "INSERT OR REPLACE INTO reservation (order_id, lines, state, expires_at) VALUES (?, ?, 'HELD', ?)",
        (order_id, encode_lines(lines), until),
    )
    return True


def _confirm(db: sqlite3.Connection, order_id: str) -> bool:
    row = db.execute(
        "SELECT state, lines FROM reservation WHERE order_id = ?", (order_id,)
    ).fetchone()
    if row is None:
        return False
    state, lines = row[0], decode_lines(row[1])
    if state == "CONFIRMED":
        return True
    # The customer has paid; when the hold ran out, try to find the goods once more.
    if state == "RELEASED" or (state == "EXPIRED" and not _hold(db, lines)):
        return False
    db.executemany(
        "UPDATE stock SET on_hand = on_hand - ?, reserved = reserved - ?, sold = sold + ? WHERE sku = ?",
        [(line.quantity, line.quantity, line.quantity, line.sku) for line in lines],
    )
    _mark(db, order_id, "CONFIRMED")
    return True


def _release_all(db: sqlite3.Connection, order_ids: Sequence[str]) -> None:
    for order_id in order_ids:
        _release(db, order_id)


def _release(db: sqlite3.Connection, order_id: str) -> None:
    row = db.execute(
        "SELECT state, lines FROM reservation WHERE order_id = ?", (order_id,)
    ).fetchone()
    if row is None:
        db.execute(
            "INSERT INTO reservation (order_id, lines, state, expires_at) VALUES (?, '[]', 'RELEASED', 0)",
            (order_id,),
        )
    elif row[0] in ("HELD", "EXPIRED"):
        if row[0] == "HELD":
            _put_back(db, decode_lines(row[1]))
        _mark(db, order_id, "RELEASED")


def _sweep(db: sqlite3.Connection, now: float) -> int:
    rows = db.execute(
        "SELECT order_id, lines FROM reservation WHERE state = 'HELD' AND expires_at <= ? LIMIT ?",
        (now, SWEEP_BATCH),
    ).fetchall()
    for order_id, lines in rows:
        _put_back(db, decode_lines(lines))
        _mark(db, order_id, "EXPIRED")
    return len(rows)


def _hold(db: sqlite3.Connection, lines: tuple[Line, ...]) -> bool:
    # All are looked at before one is touched, so that a refusal has nothing to undo.
    for line in lines:
        row = db.execute(
            "SELECT on_hand - reserved FROM stock WHERE sku = ?", (line.sku,)
        ).fetchone()
        if row is None or row[0] < line.quantity:
            return False
    db.executemany(
        "UPDATE stock SET reserved = reserved + ? WHERE sku = ?",
        [(line.quantity, line.sku) for line in lines],
    )
    return True


def _put_back(db: sqlite3.Connection, lines: tuple[Line, ...]) -> None:
    db.executemany(
        "UPDATE stock SET reserved = reserved - ? WHERE sku = ?",
        [(line.quantity, line.sku) for line in lines],
    )


def _state(db: sqlite3.Connection, order_id: str) -> str | None:
    row = db.execute("SELECT state FROM reservation WHERE order_id = ?", (order_id,)).fetchone()
    return None if row is None else str(row[0])


def _mark(db: sqlite3.Connection, order_id: str, state: str) -> None:
    db.execute("UPDATE reservation SET state = ? WHERE order_id = ?", (state, order_id))
