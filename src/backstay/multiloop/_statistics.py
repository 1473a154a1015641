"""How a multiloop and its loops are doing, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["LoopStatistics", "MultiloopStatistics"]


@dataclass(frozen=True, slots=True)
class LoopStatistics:
    """How one loop of a multiloop is doing. Counts are since its start."""

    name: str
    state: Literal["working", "resting", "blocked", "retiring"]
    queued: int  # jobs in its own queue, not started
    running: int  # jobs started and not ended
    started: int
    steals: int  # times it took half of another loop's queue
    stolen: int  # jobs it got that way
    hand_offs: int  # times its queue was given to all because it was blocked
    handed_off: int  # jobs it lost that way
    global_looks: int  # times it took its share of the global queue
    parks: int  # times it went to rest
    stale: int  # tasks made for a job that another loop took first


@dataclass(frozen=True, slots=True)
class MultiloopStatistics:
    """How a multiloop is doing. Counts are since its start; retired loops are included."""

    name: str
    state: Literal["new", "open", "draining", "closed"]
    procs: int  # loops that take work
    waiting: int  # jobs in the global queue, which any loop may take
    queued: int  # jobs in the queues of the loops
    running: int
    alive: int  # calls whose callers do not know yet how they ended
    started: int
    dropped: int  # given up by their callers before they started
    steals: int
    stolen: int
    hand_offs: int
    handed_off: int
    parks: int
    loops: tuple[LoopStatistics, ...]
