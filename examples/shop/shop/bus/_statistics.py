"""What the broker can be asked about itself, and the SQL that answers."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Events since this broker started."""

    published: int = 0  # messages stored, counted once however many groups got a copy
    duplicates: int = 0  # dropped, their dedup id was known
    delivered: int = 0
    redelivered: int = 0  # of `delivered`: second and later attempts
    acknowledged: int = 0
    returned: int = 0  # given back by a nak
    expired_leases: int = 0


@dataclass(frozen=True, slots=True)
class GroupStatistics:
    """The queue of one consumer group."""

    topic: str
    group: str  # "" = kept for the topic's first group
    ready: int
    leased: int
    delayed: int
    waiting_pulls: int


@dataclass(frozen=True, slots=True)
class BrokerStatistics:
    """Counters since the start, and the queues as they are now."""

    counters: Counters
    dead_letters: int
    groups: tuple[GroupStatistics, ...]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was given up."""

    id: int
    topic: str
    group: str
    dedup_id: str
    payload: bytes
    attempts: int
    reason: str


def read_depths(db: sqlite3.Connection) -> tuple[dict[int, tuple[int, int, int]], int]:
    """Ready, leased and delayed rows per group id; and the number of dead letters."""
    depths = {
        row[0]: (row[1], row[2], row[3])
        for row in db.execute(
            "SELECT grp, sum(due = 0), sum(due > 0 AND leased), sum(due > 0 AND NOT leased) FROM message GROUP BY grp"
        )
    }
    (dead,) = db.execute("SELECT count(*) FROM dead").fetchone()
    return depths, dead


def read_dead_letters(db: sqlite3.Connection, topic: str, limit: int) -> list[DeadLetter]:
    """The newest dead letters of `topic` ("" = of all), newest first."""
    found = db.execute(
        "SELECT message, topic, grp, dedup_id, payload, attempts, reason FROM dead"
        " WHERE ? = '' OR topic = ? ORDER BY n DESC LIMIT ?",
        (topic, topic, limit),
    )
    return [DeadLetter(*row) for row in found]
