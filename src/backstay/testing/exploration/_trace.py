"""A schedule for people: who ran at each step, from which line to which."""

from __future__ import annotations

import asyncio
import inspect
import sysconfig
from asyncio import Handle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from backstay.tasks import await_chain
from backstay.testing.exploration._explored_task import ExploredTask
from backstay.testing.exploration._plan import TIME_PASSES

__all__ = ["Tracer", "label_of", "place_of", "where_they_wait"]

_STDLIB = sysconfig.get_paths()["stdlib"]
_OURS = str(Path(__file__).parent.parent.parent)
_SHOWN = 12  # tasks listed when everything is stuck


def label_of(task: ExploredTask) -> str:
    """Return a name that is the same in each run: asyncio counts "Task-7" through the process."""
    name = task.get_name()
    if name.startswith("Task-"):
        coroutine: Any = task.get_coro()
        name = getattr(coroutine, "__qualname__", type(coroutine).__name__).rpartition("<locals>.")[
            2
        ]
    return f"{name}#{task.number}"


def place_of(task: asyncio.Task[Any]) -> str:
    """Return the line of the user's code at which `task` is suspended."""
    chain = await_chain(task)
    if not chain:
        return "its end" if task.done() else "?"
    users = [at for at, frame in enumerate(chain) if not frame.file.startswith((_STDLIB, _OURS))]
    at = users[-1] if users else len(chain) - 1
    frame = chain[at]
    # What the user's line called, and not what that called in turn.
    within = "" if at == len(chain) - 1 else f" (in {chain[at + 1].function})"
    return f"{Path(frame.file).name}:{frame.line}{within}"


def _is_new(task: asyncio.Task[Any]) -> bool:
    coroutine = task.get_coro()
    if not inspect.iscoroutine(coroutine):
        return False  # one written in Cython tells nothing
    return inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED


def where_they_wait(tasks: Iterable[ExploredTask]) -> str:
    """Return a line for each task that cannot go on."""
    stuck = list(tasks)
    lines = [f"  {label_of(task)} waits at {place_of(task)}" for task in stuck[:_SHOWN]]
    if len(stuck) > _SHOWN:
        lines.append(f"  and {len(stuck) - _SHOWN} more")
    return "\n".join(lines)


class Tracer:
    """Writes down the steps of one run; hand `watch` to the loop.

    Attributes:
        lines: one per step, plus one per cancellation.
        steps: what each step was, without what may differ between runs of the same schedule.
    """

    def __init__(self) -> None:
        """Start with nothing seen."""
        self.lines: list[str] = []
        self.steps: list[str] = []
        self._cancels_seen = 0
        self._open: tuple[ExploredTask, str] | None = None

    def watch(self, loop: Any, index: int, source: int, handle: Handle | None) -> None:
        """Note the step that is about to be run."""
        self._close()
        self._note_cancels(loop)
        step = len(loop.record.path)
        overtaken = ""
        if index:
            first = loop._sources[0]
            overtaken = f"   <- overtakes {self._who(loop, first, loop._handles[0] if loop._handles else None)}"
        who = self._who(loop, source, handle)
        if source > 0:
            task = loop.tasks[source - 1]
            start = "its start" if _is_new(task) else place_of(task)
            self._open = (task, overtaken)
            self.lines.append(f"{step:5}  {who:24} from {start}")
            self.steps.append(f"{who} at {start}")
        else:
            self.lines.append(f"{step:5}  {who}{overtaken}")
            self.steps.append(who)

    def finish(self, loop: Any) -> None:
        """Note how the last step ended."""
        self._close()
        self._note_cancels(loop)

    def _close(self) -> None:
        if self._open is not None:
            task, overtaken = self._open
            end = "its end" if task.done() else place_of(task)
            self.lines[-1] += f" to {end}{overtaken}"
            self.steps[-1] += f" to {end}"
            self._open = None

    def _note_cancels(self, loop: Any) -> None:
        cancels = loop.record.cancels
        for number in range(self._cancels_seen, len(cancels)):
            task = loop.tasks[cancels[number].task - 1]
            late = ", when it was woken already" if loop.woken_when_cancelled[number] else ""
            self.lines.append(f"       {label_of(task)} is CANCELLED at {place_of(task)}{late}")
            self.steps.append(f"cancel {label_of(task)}")
        self._cancels_seen = len(loop.record.cancels)

    def _who(self, loop: Any, source: int, handle: Handle | None) -> str:
        if source > 0:
            return label_of(loop.tasks[source - 1])
        if source == TIME_PASSES:
            return "time passes, though others could run"
        callback: Any = getattr(handle, "_callback", None)
        name = getattr(callback, "__qualname__", type(callback).__name__).rpartition("<locals>.")[2]
        if handle is not None and handle.cancelled():
            name = "(cancelled)"
        if source == 0:
            return f"callback {name}"
        if isinstance(handle, asyncio.TimerHandle):
            return f"timer {name} of {handle.when():g} s"
        return f"work of a thread {name}"
