"""The block profile: what holds the loops up, and where tasks wait.

Two kinds of delay in one profile, told apart by the label `blocked`. A loop is blocked when one
callback keeps it: the stack is that of the code which does, told also while it lasts. A
task is blocked while it waits: the stack is its await chain, the delay is sampled.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from typing import Any

from backstay._base import BlockRecord, wall
from backstay.multiloop import Sysmon, SysmonStatistics, running_multiloops
from backstay.observe.profile._asked import Wait
from backstay.observe.profile._profile import Frame, Key, Profile, Table, add, gathered
from backstay.observe.profile._wall import WallSampler, sampled
from backstay.tasks import installed_loops

__all__ = ["BLOCK_KINDS", "block_profile", "known_blocks"]

BLOCK_KINDS = (("contentions", "count"), ("delay", "nanoseconds"))

# Seconds in one callback that count, while somebody looks on purpose.
_LIMIT_S = 0.05


def known_blocks(statistics: SysmonStatistics) -> Profile:
    """Return the blocked loops that a `Sysmon` remembers, and the one that is blocked now.

    Args:
        statistics: what it says of itself.
    """
    records = [*statistics.recent]
    if statistics.now is not None:
        records.append(statistics.now)
    forgotten = statistics.count - len(statistics.recent)
    comments = [
        f"blocks of {statistics.limit_s:g} s and more; seconds=N tells also where tasks wait"
    ]
    if forgotten > 0:
        comments.append(
            f"{forgotten} earlier blocks are forgotten; together {statistics.total_s:.3f} s"
        )
    return _profile(_table(records), wall(), 0.0, comments)


def block_profile(seconds: float, wait: Wait) -> Profile:
    """Watch for some seconds what blocks the loops and where tasks wait.

    Args:
        seconds: how long.
        wait: how to wait; may be cut short.

    Returns:
        Blocks of 50 ms and more, each exactly, one that lasts still included; and the time that
        tasks waited, sampled.

    Cost: a second `Sysmon` and the wall profile for that time.
    """
    over: list[BlockRecord] = []
    guard = threading.Lock()

    def note(loop: asyncio.AbstractEventLoop, record: BlockRecord) -> None:
        if record.ended:
            with guard:
                over.append(record)

    waits = WallSampler(keep=lambda line: bool(line.wait))
    began = wall()
    with Sysmon(_watched, _LIMIT_S, on_block=note) as sysmon:
        sampled(waits, seconds, wait)
        present = sysmon.statistics().now
    with guard:
        records = [*over, *([] if present is None else [present])]
    table = _table(records)
    for (stack, labels), values in waits.table.items():
        add(table, (stack, (("blocked", "task"), *labels)), values)
    comments = [f"loops: blocks of {_LIMIT_S:g} s and more; tasks: sampled"]
    return _profile(table, began, wall() - began, comments)


def _watched() -> list[Any]:
    """Return the loops that should never be blocked: all but those made for it."""
    apart = {id(loop) for pool in running_multiloops() for loop in pool.loops}
    return [loop for loop in installed_loops() if id(loop) not in apart]


def _table(records: Iterable[BlockRecord]) -> Table:
    table: Table = {}
    for record in records:
        add(table, _key(record), (1, round(record.duration_s * 1e9)))
    return table


def _key(record: BlockRecord) -> Key:
    stack = tuple(Frame.parse(step) for step in record.stack)
    pairs = (
        ("blocked", "loop"),
        ("state", "ended" if record.ended else "now"),
        ("at", record.site),
        ("task", record.task or ""),
        ("owner", record.owner_path[-1] if record.owner_path else ""),
        ("trace_id", record.trace_id or ""),
    )
    labels = tuple((name, value) for name, value in pairs if value)
    return stack or (Frame.parse(f"{record.function} at {record.site}"),), labels


def _profile(table: Table, began: float, lasted: float, comments: Iterable[str]) -> Profile:
    return Profile(
        BLOCK_KINDS,
        gathered(table),
        BLOCK_KINDS[0],
        1,
        taken_at=began,
        duration_s=lasted,
        comments=tuple(comments),
        default="delay",
    )
