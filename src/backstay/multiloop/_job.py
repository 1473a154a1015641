"""One call that may run on any loop: what it is, where it stands, how it ended.

Two threads want the same job: the loop that starts it and the caller that
gives it up. Whoever moves it out of "waiting" has it; the other one sees that
it came too late. That single step is what makes "run at most once" true.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from typing import Any, Literal

from backstay.multiloop._mailbox import Mailbox
from backstay.tasks._tracked_task import Card

__all__ = ["Job", "Outcome"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended: with a value, an error, or neither when it was cancelled."""

    value: Any = None
    error: BaseException | None = None
    cancelled: bool = False


class Job:
    """A function, its arguments, and the surroundings of whoever called.

    Invariant: `_state` leaves "waiting" once, under `_guard`.
    """

    __slots__ = (
        "_guard",
        "_state",
        "args",
        "card",
        "context",
        "deadline",
        "deadline_setter",
        "fn",
        "home",
        "kwargs",
        "name",
        "outcome",
        "owner_path",
        "proxy",
        "runner",
        "task",
        "trace_id",
        "waiter",
    )

    def __init__(
        self,
        fn: Callable[..., Any] | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        name: str,
        context: Context,
        home: Mailbox,
    ) -> None:
        """Describe the call; nobody has it yet."""
        self.fn = fn
        self.args = args
        self.kwargs = kwargs
        self.name = name
        self.context = context  # the caller's; copied for each try, since only one may enter it
        self.home = home  # the way back to the caller's loop
        self.owner_path: tuple[str, ...] = ()
        self.trace_id: str | None = None
        self.deadline: float | None = None
        self.deadline_setter: str | None = None
        self.card: Card | None = None  # of the caller's task: the line that called
        self.proxy: asyncio.Task[Any] | None = None  # stands for the job on the caller's loop
        self.waiter: asyncio.Future[None] | None = None  # what the proxy waits for
        self.outcome: Outcome | None = None  # written and read on the caller's loop only
        self.runner: Mailbox | None = None  # the way to the loop that runs it
        self.task: asyncio.Task[Any] | None = None  # that runs it, there
        self._guard = threading.Lock()
        self._state: Literal["waiting", "running", "dropped"] = "waiting"

    def claim(self, task: asyncio.Task[Any] | None, runner: Mailbox) -> bool:
        """Take it to run it; False when its caller has given it up."""
        with self._guard:
            if self._state != "waiting":
                return False
            self._state = "running"
            self.task = task
            self.runner = runner
            return True

    def drop(self) -> bool:
        """Give it up; False when it has started, and must be cancelled where it runs."""
        with self._guard:
            if self._state != "waiting":
                return False
            self._state = "dropped"
        self.fn = None  # it may stay in a queue for a while: hold nothing of the caller's
        self.args = ()
        self.kwargs = {}
        return True

    def strike(self, why: str) -> None:
        """Cancel the task that runs it; for the loop that does."""
        if self.task is not None:
            self.task.cancel(why)

    def deliver(self, outcome: Outcome) -> None:
        """Tell the caller how it ended; for the caller's loop."""
        if self.outcome is None:
            self.outcome = outcome
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)
