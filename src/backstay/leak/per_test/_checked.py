"""Whose a task is, as far as tests are concerned: a token in the context that spawned it.

It is a variable of its own and not the owner of `tasks`: with an owner around it, code under test
that starts tasks without any would find one, and a diagnostic must not change what it watches.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any, Literal
from weakref import WeakKeyDictionary, WeakSet

__all__ = ["Checked", "current", "owner_in", "owners"]


class Checked:
    """A test, or a fixture that outlives tests, to which tasks and loops belong.

    Attributes:
        name: as the framework calls it.
        kind: a fixture is never checked; its tasks belong to nobody's test.
        ended: whether its check is over; its context may live on in a task.
        loops: those born in it.
        looked_at: loops that were judged on its behalf as they were closed.
        tasks: those spawned in its context, so that a look need not go through everybody's.
    """

    __slots__ = ("__weakref__", "ended", "kind", "looked_at", "loops", "name", "tasks")

    def __init__(self, name: str, kind: Literal["test", "fixture"] = "test") -> None:
        self.name = name
        self.kind: Literal["test", "fixture"] = kind
        self.ended = False
        self.loops: WeakSet[asyncio.AbstractEventLoop] = WeakSet()
        self.tasks: WeakSet[asyncio.Task[Any]] = WeakSet()
        self.looked_at: WeakSet[asyncio.AbstractEventLoop] = WeakSet()

    def alive_on(self, loop: asyncio.AbstractEventLoop) -> list[asyncio.Task[Any]]:
        """Return those of `tasks` that live on `loop`; callable from any thread."""
        for _ in range(100):
            try:
                return [one for one in self.tasks if one.get_loop() is loop and not one.done()]
            except RuntimeError:  # "Set changed size during iteration"
                continue
        return []

    def __str__(self) -> str:
        """Name it as an owner is named: "test tests/test_mail.py::test_sends"."""
        return f"{self.kind} {self.name}"


current: ContextVar[Checked | None] = ContextVar("backstay_test", default=None)
"""The test around the running code; every task starts with a copy of its creator's."""

owners: WeakKeyDictionary[asyncio.Task[Any], Checked | None] = WeakKeyDictionary()
"""Of each task that was seen to start, the test in whose context that was."""


def owner_in(task: asyncio.Task[Any], loop_of: Checked) -> Checked | None:
    """Return whose `task` is, on a loop that was born in `loop_of`.

    A task that was spawned in no test's context (by a thread, a bare callback, or past our
    factory) can only be of the one whose loop it is.
    """
    return owners.get(task) or loop_of
