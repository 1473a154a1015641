"""The tables of each service. Every service owns its file; none reads another's."""

from __future__ import annotations

from shop.business.pricing import PRICES

# AUTOINCREMENT: without it SQLite gives the number of a deleted last row to the next one, and
# whoever still holds the number (a notification that arrives after its order was cancelled) would
# delete a stranger's row.
ORDER = """
CREATE TABLE IF NOT EXISTS orders (
    id         TEXT PRIMARY KEY,
    customer   TEXT NOT NULL,
    lines      TEXT NOT NULL,
    amount     INTEGER NOT NULL,
    state      TEXT NOT NULL,
    attempts   INTEGER NOT NULL DEFAULT 0,
    next_at    REAL NOT NULL,
    created_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS orders_open ON orders (next_at)
    WHERE state IN ('NEW', 'RESERVED', 'PAYING', 'REFUNDING');
CREATE TABLE IF NOT EXISTS idempotency (
    customer TEXT NOT NULL,
    key      TEXT NOT NULL,
    hash     TEXT NOT NULL,
    order_id TEXT NOT NULL,
    status   INTEGER,
    reply    BLOB,
    lease_until REAL NOT NULL,
    PRIMARY KEY (customer, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (
    n        INTEGER PRIMARY KEY AUTOINCREMENT,
    topic    TEXT NOT NULL,
    order_id TEXT NOT NULL,
    payload  TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_at  REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS outbox_due ON outbox (topic, next_at);
"""

INVENTORY = """
CREATE TABLE IF NOT EXISTS stock (
    sku      TEXT PRIMARY KEY,
    on_hand  INTEGER NOT NULL CHECK (on_hand >= 0),
    reserved INTEGER NOT NULL DEFAULT 0 CHECK (reserved >= 0 AND reserved <= on_hand),
    sold     INTEGER NOT NULL DEFAULT 0,
    received INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reservation (
    order_id   TEXT PRIMARY KEY,
    lines      TEXT NOT NULL,
    state      TEXT NOT NULL,
    expires_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS reservation_held ON reservation (expires_at) WHERE state = 'HELD';
"""

PAYMENT = """
CREATE TABLE IF NOT EXISTS payment (
    order_id TEXT PRIMARY KEY,
    amount   INTEGER NOT NULL,
    state    TEXT NOT NULL,
    bank_ref TEXT NOT NULL
) WITHOUT ROWID;
"""

FULFILMENT = """
CREATE TABLE IF NOT EXISTS shipment (
    order_id TEXT PRIMARY KEY,
    wms_ref  TEXT NOT NULL
) WITHOUT ROWID;
"""


def stock_rows(each: int) -> str:
    """Write the goods that lie on the shelves when the shop opens for the first time.

    Args:
        each: pieces of each article.

    Returns:
        SQL that changes nothing when the rows exist.
    """
    values = ", ".join(f"('{sku}', {each:d}, {each:d})" for sku in sorted(PRICES))
    return f"INSERT OR IGNORE INTO stock (sku, on_hand, received) VALUES {values};"
