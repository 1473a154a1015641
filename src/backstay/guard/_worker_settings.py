"""What a pool of workers can be told, checked once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypedDict

from backstay.guard._guard import Mode
from backstay.guard.rules.job_queue import JobOrder

__all__ = ["OnFull", "WorkerOptions", "WorkerSettings"]

OnFull: TypeAlias = Literal["wait", "reject"]


class WorkerOptions(TypedDict, total=False):
    """The keywords of `WorkerPool`, `thread_workers` and `process_workers`.

    Attributes:
        workers: how many jobs may be under way at once, >= 1; 8 when omitted.
        queue: how many may be in line besides, >= 0; as many as `workers` when omitted.
        name: for people; the function's when omitted, or the line that makes the pool.
        deadline: seconds that a job may take from when it was handed over, time in line included;
            the caller's own deadline counts as well, the earlier of the two.
        on_full: whether a caller that finds no room waits for it, or is refused; "wait" when omitted.
        key: gives a job's key from its arguments; no two of one key are under way at once.
        order: which job begins first: the oldest ("fifo", when omitted), or the newest ("lifo"),
            which under overload serves those whose callers are most likely to be there still.
        detached: whether jobs outlive the deadline of whoever hands them over.
        drain: seconds that jobs get to finish at the end of the block; 10 when omitted.
        mode: "shadow" counts whom it would refuse, and takes every job.
    """

    workers: int
    queue: int | None
    name: str
    deadline: float | None
    on_full: OnFull
    key: Callable[..., Hashable] | None
    order: JobOrder
    detached: bool
    drain: float
    mode: Mode


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """The same with defaults, as a pool keeps them."""

    workers: int = 8
    queue: int | None = None
    name: str = ""
    deadline: float | None = None
    on_full: OnFull = "wait"
    key: Callable[..., Hashable] | None = None
    order: JobOrder = "fifo"
    detached: bool = False
    drain: float = 10.0
    mode: Mode = "enforce"

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            ValueError: a number is out of range, or there is no such word.
        """
        if self.workers < 1:
            raise ValueError(f"there is at least 1 worker, not {self.workers!r}")
        if self.queue is not None and self.queue < 0:
            raise ValueError(f"a line has room for at least 0 jobs, not {self.queue!r}")
        if self.deadline is not None and not self.deadline > 0:
            raise ValueError(f"a deadline is above 0 seconds, or None, not {self.deadline!r}")
        if not self.drain >= 0:
            raise ValueError(f"drain is at least 0 seconds, not {self.drain!r}")
        _check_word("on_full", self.on_full, ("wait", "reject"))
        _check_word("order", self.order, ("fifo", "lifo"))

    @property
    def room(self) -> int:
        """How many jobs may be in line."""
        return self.workers if self.queue is None else self.queue

    @property
    def most(self) -> int:
        """How many jobs may be in the pool."""
        return self.workers + self.room


def _check_word(what: str, word: Any, known: tuple[str, ...]) -> None:
    if word not in known:
        raise ValueError(f"{what} is {' or '.join(map(repr, known))}, not {word!r}")
