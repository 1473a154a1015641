"""Tasks whose hash is their number, so that a set of them is walked in the same order each time.

`asyncio.TaskGroup` and our own `Scope` cancel their children by walking a set.
An object's usual hash is its address, which differs from run to run: the one
place where asyncio itself is not repeatable.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from backstay.tasks import TrackedTask

__all__ = ["ExploredTask", "Registry", "make_task", "task_to_resume"]


class Registry(Protocol):
    """A loop that numbers its tasks."""

    def register_task(self, task: ExploredTask) -> int:
        """Note a new task and return its number; the scenario itself is 1."""
        ...


class ExploredTask(TrackedTask):
    """A task with a number.

    Attributes:
        number: 1 for the scenario itself, then in order of creation.
    """

    __slots__ = ("number",)

    number: int

    def __init__(self, coro: Coroutine[Any, Any, Any], *, loop: Any, **options: Any) -> None:
        """Take a number first: asyncio hashes the task while it is being made."""
        self.number = loop.register_task(self)
        super().__init__(coro, loop=loop, **options)

    def __hash__(self) -> int:
        return self.number


def make_task(loop: Any, coro: Coroutine[Any, Any, Any], **options: Any) -> ExploredTask:
    """Be the task factory of an exploring loop."""
    return ExploredTask(coro, loop=loop, **options)


# What a handle calls to run a task: C's first and bare-yield step, C's wake-up, and
# the same two of the task written in Python.
_STEP_TYPE = "TaskStepMethWrapper"
_STEP_NAMES = frozenset({"task_wakeup", "__step", "__wakeup"})


def task_to_resume(callback: Any) -> ExploredTask | None:
    """Return the task that a handle would resume, or None for a plain callback."""
    target = getattr(callback, "__self__", None)
    if not isinstance(target, ExploredTask):
        return None
    if type(callback).__name__ == _STEP_TYPE or callback.__name__ in _STEP_NAMES:
        return target
    return None  # such as task.cancel given to call_later
