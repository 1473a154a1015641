"""One thing that must hold, and how it is tried."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from backstay.testing.exploration import Exploration, explore

__all__ = ["KIT", "Check"]

KIT = "kit"
"""Name of tasks that belong to a check and not to the thing under test; never cancelled."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold.

    Attributes:
        name: what holds, with underscores; `str(check)`, fit for a test id.
        scenario: builds the thing, uses it, and asserts.
        cancel: who is cancelled meanwhile, as for `explore`.
    """

    name: str
    scenario: Callable[[], Awaitable[None]]
    cancel: bool | Literal["systematic"] = False

    def run(self, *, schedules: int = 300, seed: int = 0, replay: str | None = None) -> Exploration:
        """Run the scenario under many schedules.

        Args:
            schedules: how many.
            seed: where the dice start.
            replay: run only this one, as printed with a failure.

        Raises:
            ExplorationFailure: it does not hold.
        """
        __tracebackhide__ = True
        return explore(
            self.scenario,
            schedules=schedules,
            cancel=self.cancel,
            seed=seed,
            replay=replay,
            spare=_belongs_to_us,
        )

    def __str__(self) -> str:
        """Return the name."""
        return self.name


def _belongs_to_us(task: asyncio.Task[Any]) -> bool:
    return task.get_name() == KIT
