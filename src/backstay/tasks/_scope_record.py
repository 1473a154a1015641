"""What a scope was asked to be, and how it is doing, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan
from typing import Literal, Protocol

from backstay.context import Context

__all__ = ["ScopeOptions", "ScopeStatistics", "State", "Timer"]

State = Literal["new", "open", "closing", "ended"]
"""Closing: the body is over and children are still running."""


class Timer(Protocol):
    """What watches a deadline: a timer of the loop, or a place on a wheel."""

    def cancel(self) -> None:
        """Watch no longer."""


@dataclass(frozen=True, slots=True)
class ScopeOptions:
    """What the caller of `Scope(...)` asked for, checked once."""

    name: str
    timeout: float | None  # seconds after entry
    deadline: float | None  # seconds on the clock of now()
    max_tasks: int | None
    on_exit: Literal["wait", "cancel"]
    on_error: Literal["cancel", "collect"]
    unwrap: bool
    detached: bool

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            ValueError: a number is out of range or a word is unknown.
        """
        what = f"scope {self.name!r}"
        if self.timeout is not None and not self.timeout >= 0:
            raise ValueError(f"{what}: timeout must be at least 0 seconds, not {self.timeout!r}")
        if self.deadline is not None and isnan(self.deadline):
            raise ValueError(f"{what}: deadline must be a time on the clock of backstay.now()")
        if self.max_tasks is not None and self.max_tasks < 1:
            raise ValueError(f"{what}: max_tasks must be at least 1, not {self.max_tasks!r}")
        if self.on_exit not in ("wait", "cancel"):
            raise ValueError(f"{what}: on_exit is 'wait' or 'cancel', not {self.on_exit!r}")
        if self.on_error not in ("cancel", "collect"):
            raise ValueError(f"{what}: on_error is 'cancel' or 'collect', not {self.on_error!r}")

    def narrow(self, inherited: Context, opened_at: float) -> Context:
        """Return the context of a scope entered at `opened_at`, with the deadline that binds it."""
        context = inherited.without_deadline() if self.detached else inherited
        if self.timeout is not None:
            context = context.with_deadline(opened_at + self.timeout, self.name, self.timeout)
        if self.deadline is not None:
            context = context.with_deadline(self.deadline, self.name)
        return context


@dataclass(frozen=True, slots=True)
class ScopeStatistics:
    """How a scope is doing."""

    name: str
    path: tuple[str, ...]
    kind: str
    state: State
    alive: int  # children started with go() that have not ended
    waiting: int  # callers of go_wait() in line for a place
    spawned: int  # children started with go() so far
    failed: int  # of these, how many ended with an error
    raw_spawned: int  # tasks started inside by other means than go(), owned but not awaited
    max_tasks: int | None
    age_s: float  # seconds since it was entered
    remaining_s: float | None  # seconds to its deadline, negative once passed
    cause: str | None  # why it was cut short
