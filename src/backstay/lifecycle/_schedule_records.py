"""What a schedule tells: to a run about itself, and to people about the runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

__all__ = ["Outcome", "Run", "RunRecord", "ScheduleCounts", "ScheduleState", "ScheduleStatistics"]

ScheduleState = Literal["new", "running", "draining", "exited"]
Outcome = Literal[
    "done",
    "failed",
    "deadline",
    "cut",
    "lost",
    "no lease",
    "elsewhere",
    "left",
    "missed",
    "overlapped",
]


@dataclass(frozen=True, slots=True)
class Run:
    """What a run is told about itself.

    Attributes:
        schedule: its name.
        planned_at: the planned instant in unix seconds: with the name it says which run this is.
        late_s: seconds by which it begins later than planned, its jitter included.
        token: the fencing token of its lease; 0 without one.
    """

    schedule: str
    planned_at: float
    late_s: float
    token: int = 0

    @property
    def planned(self) -> datetime:
        """The planned instant, in UTC."""
        return datetime.fromtimestamp(self.planned_at, UTC)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What became of a planned instant.

    | outcome | |
    | --- | --- |
    | "done" | the work has returned |
    | "failed" | it has raised |
    | "deadline" | it was cancelled at its deadline |
    | "cut" | it was cancelled: by the end of the drain, by the cancel of the schedule, or by whoever |
    | "lost" | it was cancelled since its lease could not be renewed |
    | "no lease" | it has not begun: the store of leases was away |
    | "elsewhere" | it has not begun: another replica does it, or has done it |
    | "left" | it has not begun: the schedule was told to leave |
    | "missed" | it was given up by the policy for missed instants |
    | "overlapped" | it was given up since as many as may run did run |
    """

    planned_at: float  # unix seconds
    outcome: Outcome
    late_s: float  # seconds from the planned instant to the begin, or to when it was given up
    took_s: float  # seconds of the work; 0 when it has not begun
    error: str  # as "Type: message", or why; "" for "done"


@dataclass(slots=True)
class ScheduleCounts:
    """What has happened so far; each field is explained in `ScheduleStatistics`."""

    begun: int = 0
    done: int = 0
    failed: int = 0
    deadline: int = 0
    cut: int = 0
    lost: int = 0
    no_lease: int = 0
    elsewhere: int = 0
    left: int = 0
    missed: int = 0
    overlapped: int = 0
    lease_errors: int = 0
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class ScheduleStatistics:
    """How a schedule is doing. All that was begun runs, or is done, failed, deadline, cut or lost."""

    name: str
    state: ScheduleState
    paused: str  # why nothing is begun; "" while it is
    next_at: (
        float | None
    )  # the next planned instant in unix seconds; None when there is none any more
    running: int  # runs that are at work, or wait for their jitter or lease
    oldest_s: float  # seconds for which the oldest of them has been there
    waiting: int  # instants that wait for a place
    begun: int  # runs whose work was called
    done: int
    failed: int
    deadline: int
    cut: int
    lost: int
    no_lease: int
    elsewhere: int
    left: int
    missed: int
    overlapped: int
    lease_errors: int  # calls to the store of leases that failed
    last_error: str  # of the work or the store, as "Type: message"
    last_done_at: float | None  # unix seconds of when work has last returned
    clock_jumps: int  # jumps of the wall clock of a second or more that were noticed
    clock_jump_s: float  # the last of them; negative when the clock was set back
    took_p50_s: float
    took_p99_s: float
    left_over: tuple[str, ...]  # runs that the end of the drain has cut
