"""What passes between a strategy and a run: the plan before, the record after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol, TypeAlias

from backstay.testing.exploration._explored_task import ExploredTask

__all__ = [
    "FIFO",
    "TIME_PASSES",
    "Cancel",
    "CancelAtSteps",
    "CancelAtWait",
    "Choice",
    "Chooser",
    "Overtake",
    "Path",
    "Plan",
    "Record",
    "Strategy",
    "Window",
]

Chooser: TypeAlias = Callable[[Sequence[int], int, int], int]
"""Given the sources that are ready, in order of arrival, how many of the first of
them may run, and the number of the step: the index of the one that runs next."""

Path: TypeAlias = "list[int]"
"""Which source ran at each step: a task's number, 0 for a plain callback, `TIME_PASSES`,
or a number below that for a timer or the work of a thread."""

TIME_PASSES = -1
Window: TypeAlias = Literal["waiting", "woken"]


def FIFO(sources: Sequence[int], count: int, step: int) -> int:  # noqa: N802 - a constant that is a function
    """Run what arrived first, as the stock loop does."""
    return 0


class Choice(NamedTuple):
    """One step at which more than one source could run."""

    step: int
    option: int  # which of `options` ran, by position
    options: tuple[int, ...]  # sources in order of arrival


class Overtake(NamedTuple):
    """Deviation from the order of arrival: at `step` the one at position `option` runs first."""

    step: int
    option: int


class Cancel(NamedTuple):
    """`task` (its number) is cancelled just before `step`."""

    step: int
    task: int


@dataclass(slots=True)
class CancelAtSteps:
    """Cancel somebody at given steps.

    Attributes:
        steps: when, ascending.
        choose: given the step and who may be cancelled, whom; None for nobody.
    """

    steps: list[int]
    choose: Callable[[int, Sequence[ExploredTask]], ExploredTask | None]


@dataclass(frozen=True, slots=True)
class CancelAtWait:
    """Cancel one task at one of its waits.

    Attributes:
        task: its number.
        wait: how many steps it has run by then; 0 is before its first.
        window: while it is "waiting", right after it was suspended; or when it was
            already "woken", right before it would go on. The second is where
            whatever it was given gets lost.
    """

    task: int
    wait: int
    window: Window


@dataclass(slots=True)
class Plan:
    """What one run is told.

    Attributes:
        choose: who runs next, asked only where there is a choice.
        cancels: who is cancelled when; None for nobody.
        chance: seed of `random` and of our own dice while the run lasts.
    """

    choose: Chooser = FIFO
    cancels: CancelAtSteps | CancelAtWait | None = None
    chance: int = 0


@dataclass(slots=True)
class Record:
    """What one run did.

    Attributes:
        chance: the seed it had.
        path: which source ran at each step.
        choices: the steps with a choice, and what was chosen.
        cancels: who was cancelled.
        births: for each task, the step before which it was made; index 0 is task 1.
        spared: tasks that may not be cancelled.
        error: why it failed, or None.
        kind: what sort of failure: "error", "deadlock", "budget", "callback",
            "unretrieved" or "refuses to end".
    """

    chance: int
    path: Path = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)
    cancels: list[Cancel] = field(default_factory=list)
    births: list[int] = field(default_factory=list)
    spared: frozenset[int] = frozenset()
    error: BaseException | None = None
    kind: str = ""
    tolerated: bool = False  # a cancellation that was injected left the scenario

    @property
    def overtakes(self) -> list[Overtake]:
        """Where it deviated from the order of arrival."""
        return [Overtake(choice.step, choice.option) for choice in self.choices if choice.option]

    @property
    def signature(self) -> tuple[str, type[BaseException] | None]:
        """What two runs have in common that fail alike."""
        return self.kind, None if self.error is None else type(self.error)


class Strategy(Protocol):
    """Decides what to try next; one object serves one exploration."""

    def plan(self, number: int) -> Plan | None:
        """Return the plan of run `number` (from 0), or None when all has been tried."""
        ...

    def learn(self, record: Record) -> None:
        """Look at what the last planned run did."""
        ...
