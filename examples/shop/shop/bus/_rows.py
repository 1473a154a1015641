"""The broker's tables, and each operation that changes them as one SQL job.

Plain functions of a connection: they run on the store's writer thread, know no loop and read no
clock (`now` is an argument, on the broker's monotonic clock).

A message is copied into every group of its topic when it is published, so that each group's ack
is a plain DELETE and nothing is left to sweep. Group "" of a topic holds what was published
before the topic had its first group; that group takes all of it over.

`due` says when a row may be pulled: 0 = now, else the end of its lease or of its delay. Ready
rows therefore share one value, and the index (grp, due, id) yields them oldest first.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from shop.bus._delivery import Delivery

SCHEMA = """
CREATE TABLE IF NOT EXISTS grp(
    id INTEGER PRIMARY KEY, topic TEXT NOT NULL, name TEXT NOT NULL, UNIQUE(topic, name));
CREATE TABLE IF NOT EXISTS message(
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never reused: a late ack must not hit a newer message
    grp INTEGER NOT NULL, due REAL NOT NULL, attempt INTEGER NOT NULL, leased INTEGER NOT NULL,
    dedup_id TEXT NOT NULL, payload BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS message_by_due ON message(grp, due, id);
CREATE TABLE IF NOT EXISTS seen(
    n INTEGER PRIMARY KEY, topic TEXT NOT NULL, dedup_id TEXT NOT NULL, at REAL NOT NULL,
    UNIQUE(topic, dedup_id));
CREATE TABLE IF NOT EXISTS dead(
    n INTEGER PRIMARY KEY AUTOINCREMENT, message INTEGER NOT NULL, topic TEXT NOT NULL, grp TEXT NOT NULL,
    dedup_id TEXT NOT NULL, payload BLOB NOT NULL, attempts INTEGER NOT NULL, reason TEXT NOT NULL,
    at REAL NOT NULL);  -- unix seconds, for people
"""

# Bounds that keep the file flat when nobody consumes; both drop the oldest first.
UNCLAIMED_KEPT = 10_000
DEAD_KEPT = 10_000
# A pull stops once its payloads reach this: with one more payload the reply stays below gRPC's 4 MiB.
MAX_TAKE_BYTES = 2 * 1024 * 1024
# Dedup ids forgotten per publish at most: more than a publish adds on average, so that the table
# shrinks back after a burst, few enough to keep the job short.
FORGET_AT_ONCE = 1_000


@dataclass(slots=True)
class Stored:
    """What became of a publish."""

    stored: int = 0  # new messages
    duplicates: int = 0
    groups: list[int] = field(default_factory=list)  # each got a copy of every new message
    unclaimed: bool = False  # the topic has no group yet; `groups` is its group ""


@dataclass(slots=True)
class Taken:
    """What a pull leased; filled in by the job itself, so that an abandoned one can be undone."""

    deliveries: list[Delivery] = field(default_factory=list)
    more: bool = False  # it stopped at a limit: there may be more ready rows
    next_due: float | None = None  # when the next lease or delay of the group ends
    expired: int = 0
    dead: int = 0


@dataclass(frozen=True, slots=True)
class Inherited:
    """What an earlier broker left."""

    groups: list[tuple[int, str, str]]  # id, topic, name
    depth: int  # messages of all groups


def restart(db: sqlite3.Connection, now: float, grace_s: float) -> Inherited:
    """Make the rows of an earlier life usable: its clock is not ours.

    Leases and delays all end after `grace_s`, which lets consumers that outlived the broker
    ack what they hold; the dedup window starts anew.
    """
    db.execute("UPDATE message SET due = ? WHERE due > 0", (now + grace_s,))
    db.execute("UPDATE seen SET at = ?", (now,))
    (depth,) = db.execute("SELECT count(*) FROM message").fetchone()
    return Inherited(db.execute("SELECT id, topic, name FROM grp").fetchall(), depth)


def add_group(db: sqlite3.Connection, topic: str, name: str) -> int:
    """Register a group (or find it); the first group of a topic takes over what was kept for it."""
    db.execute("INSERT OR IGNORE INTO grp(topic, name) VALUES (?, ?)", (topic, name))
    (number,) = db.execute(
        "SELECT id FROM grp WHERE topic = ? AND name = ?", (topic, name)
    ).fetchone()
    if name:
        db.execute(
            "UPDATE message SET grp = ? WHERE grp = (SELECT id FROM grp WHERE topic = ? AND name = '')",
            (number, topic),
        )
    return int(number)


def publish(
    db: sqlite3.Connection,
    topic: str,
    messages: Sequence[tuple[str, bytes]],
    now: float,
    window_s: float,
) -> Stored:
    """Store each message whose dedup id is new, once per group."""
    db.execute(
        "DELETE FROM seen WHERE n IN (SELECT n FROM (SELECT n, at FROM seen ORDER BY n LIMIT ?) WHERE at < ?)",
        (FORGET_AT_ONCE, now - window_s),
    )
    outcome = Stored()
    # Looked up here and not in memory: a group registered by an earlier job must get its copy.
    outcome.groups = [
        row[0] for row in db.execute("SELECT id FROM grp WHERE topic = ? AND name <> ''", (topic,))
    ]
    if not outcome.groups:
        outcome.groups = [add_group(db, topic, "")]
        outcome.unclaimed = True
    for dedup_id, payload in messages:
        known = db.execute(
            "INSERT OR IGNORE INTO seen(topic, dedup_id, at) VALUES (?, ?, ?)",
            (topic, dedup_id, now),
        )
        if known.rowcount == 0:
            outcome.duplicates += 1
            continue
        outcome.stored += 1
        db.executemany(
            "INSERT INTO message(grp, due, attempt, leased, dedup_id, payload) VALUES (?, 0, 0, 0, ?, ?)",
            [(group, dedup_id, payload) for group in outcome.groups],
        )
    return outcome


def trim(db: sqlite3.Connection, group: int, keep: int) -> int:
    """Drop the oldest rows of a group beyond `keep`; how many."""
    return db.execute(
        "DELETE FROM message WHERE grp = ? AND id <= ("
        "SELECT id FROM message WHERE grp = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
        (group, group, keep),
    ).rowcount


def take(
    db: sqlite3.Connection,
    group: int,
    limit: int,
    now: float,
    lease_s: float,
    max_attempts: int,
    taken: Taken,
) -> None:
    """Lease up to `limit` ready rows, oldest first, into `taken`."""
    late = db.execute(
        "SELECT id, attempt, leased FROM message WHERE grp = ? AND due > 0 AND due <= ?",
        (group, now),
    ).fetchall()
    for number, attempt, leased in late:
        taken.expired += leased
        if leased and attempt >= max_attempts:
            bury(
                db,
                number,
                f"the lease ended without an answer, attempt {attempt} of {max_attempts}",
            )
            taken.dead += 1
        else:
            db.execute("UPDATE message SET due = 0, leased = 0 WHERE id = ?", (number,))
    size = 0
    for number, dedup_id, payload, attempt in db.execute(
        "SELECT id, dedup_id, payload, attempt FROM message WHERE grp = ? AND due = 0 ORDER BY id LIMIT ?",
        (group, limit),
    ):
        taken.deliveries.append(Delivery(number, dedup_id, payload, attempt + 1))
        size += len(payload)
        if size >= MAX_TAKE_BYTES:
            break
    taken.more = len(taken.deliveries) == limit or size >= MAX_TAKE_BYTES
    db.executemany(
        "UPDATE message SET due = ?, attempt = attempt + 1, leased = 1 WHERE id = ?",
        [(now + lease_s, delivery.id) for delivery in taken.deliveries],
    )
    (taken.next_due,) = db.execute(
        "SELECT min(due) FROM message WHERE grp = ? AND due > 0", (group,)
    ).fetchone()


def untake(db: sqlite3.Connection, taken: Taken) -> None:
    """Undo a take whose consumer was gone before it heard of it: ready again, attempt not counted."""
    db.executemany(
        "UPDATE message SET due = 0, attempt = attempt - 1, leased = 0 WHERE id = ? AND attempt = ?",
        [(delivery.id, delivery.attempt) for delivery in taken.deliveries],
    )


def ack(db: sqlite3.Connection, ids: Sequence[int]) -> int:
    """Delete the rows; how many were still known. A late ack counts: the work is done after all."""
    return db.executemany(
        "DELETE FROM message WHERE id = ?", [(number,) for number in ids]
    ).rowcount


@dataclass(slots=True)
class Returned:
    """What became of a nak."""

    groups: set[int] = field(default_factory=set)
    returned: int = 0
    dead: int = 0


def nak(
    db: sqlite3.Connection,
    claims: Sequence[tuple[int, int]],
    due: float,
    max_attempts: int,
    *,
    refund: bool,
    dead_reason: str = "",
) -> Returned:
    """Give rows back until `due` (0 = at once), or bury those whose attempts are used up, or that are dead.

    Claims are (id, attempt); one whose lease has already passed on to somebody else is ignored.
    """
    outcome = Returned()
    for number, attempt in claims:
        row = db.execute(
            "SELECT grp FROM message WHERE id = ? AND attempt = ? AND leased = 1", (number, attempt)
        ).fetchone()
        if row is None:
            continue
        used_up = attempt >= max_attempts and not refund
        if dead_reason or used_up:
            why = f"given back by its consumer, attempt {attempt} of {max_attempts}"
            bury(db, number, dead_reason or why)
            outcome.dead += 1
            continue
        db.execute(
            "UPDATE message SET due = ?, leased = 0, attempt = attempt - ? WHERE id = ?",
            (due, refund, number),
        )
        outcome.groups.add(row[0])
        outcome.returned += 1
    return outcome


def extend(db: sqlite3.Connection, claims: Sequence[tuple[int, int]], due: float) -> int:
    """Let the leases of these, (id, attempt) each, end at `due`; how many were still leased by that attempt."""
    return db.executemany(
        "UPDATE message SET due = ? WHERE id = ? AND attempt = ? AND leased = 1",
        [(due, number, attempt) for number, attempt in claims],
    ).rowcount


def bury(db: sqlite3.Connection, number: int, reason: str) -> None:
    """Move one row to the dead letters, keeping the newest DEAD_KEPT of them."""
    cursor = db.execute(
        "INSERT INTO dead(message, topic, grp, dedup_id, payload, attempts, reason, at)"
        " SELECT m.id, g.topic, g.name, m.dedup_id, m.payload, m.attempt, ?, ?"
        " FROM message m JOIN grp g ON g.id = m.grp WHERE m.id = ?",
        (reason, time.time(), number),
    )
    db.execute("DELETE FROM message WHERE id = ?", (number,))
    db.execute("DELETE FROM dead WHERE n <= ?", ((cursor.lastrowid or 0) - DEAD_KEPT,))
