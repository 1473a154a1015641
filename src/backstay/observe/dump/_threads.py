"""The threads of a process, and the jobs of its executors, as plain values.

A loop that stands still is often innocent: it waits for a thread, and all threads of the pool
hang in one slow call. So a dump tells of each thread where it stands and which loop or
job it runs, and of each `ThreadPoolExecutor` how many jobs run and how many wait for a free thread,
by function. Arguments are never told: secrets may stand in them.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

from backstay.leak._places import is_ours, relative
from backstay.leak._thread_stacks import IN_C, job_name, job_of, own_place, stack_of
from backstay.observe.dump._executors import ExecutorSight, Pools
from backstay.observe.dump._places import frame_to_json
from backstay.tasks import ChainFrame, installed_loops, live_tasks
from backstay.tasks._code_origin import origin_of

__all__ = ["LoopSight", "ThreadSight", "look_at_threads", "threads"]

# Threads told one by one; programs with more have executors, whose jobs are counted.
_MOST_THREADS = 200
# Frames of a thread: people read the two ends.
_MOST_FRAMES = 128
_RUNNERS = ("asyncio.runners", "asyncio.base_events", "uvloop")


@dataclass(frozen=True, slots=True)
class LoopSight:
    """An event loop, as its thread shows it."""

    kind: (
        str  # such as "uvloop.Loop"; "" for one that is not tracked, or cannot be told from others
    )
    tasks: int
    running: str | None  # name of the task that runs right now


@dataclass(frozen=True, slots=True)
class ThreadSight:
    """One thread.

    Attributes:
        name: as `threading` knows it.
        ident: its number in Python.
        native_id: its number in the operating system, as `top -H` and `py-spy` show it.
        daemon: whether the interpreter ends without waiting for it.
        site: "file:line", the innermost line of the program's own code; of any code without one.
        stack: where it stands, outermost first; empty without stacks.
        loop: the event loop that it runs.
        executor: name of the executor whose worker it is.
        job: the function of an executor that it runs; None for others and for idle workers.
        own: whether it is one of Backstay's.
        current: whether it is the one that has taken the dump.
    """

    name: str
    ident: int
    native_id: int | None
    daemon: bool
    site: str
    stack: tuple[ChainFrame, ...]
    loop: LoopSight | None
    executor: str | None
    job: str | None
    own: bool
    current: bool

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values; the stack only where there is one."""
        made: dict[str, Any] = {
            "name": self.name,
            "native_id": self.native_id,
            "daemon": self.daemon,
            "site": relative(self.site),
            "loop": None
            if self.loop is None
            else {
                "kind": self.loop.kind,
                "tasks": self.loop.tasks,
                "running": self.loop.running,
            },
            "executor": self.executor,
            "job": self.job,
            "own": self.own,
            "current": self.current,
        }
        if self.stack:
            made["stack"] = [frame_to_json(step) for step in self.stack]
        return made


def threads(
    loops: Iterable[asyncio.AbstractEventLoop] | None = None, *, stacks: bool = False
) -> tuple[list[ThreadSight], list[ExecutorSight], int]:
    """Look at all threads, and at the executors whose workers some of them are.

    Callable from any thread; nothing is kept, and no code of the application is run.

    Args:
        loops: all that are tracked when omitted.
        stacks: with every frame of each thread.

    Returns:
        The threads, main thread first; the executors, those with most jobs first; and how many
        threads were left out.

    Cost: 10 to 50 microseconds a thread, and a microsecond for each queued job, of at most 1,000.
    """
    known = installed_loops() if loops is None else loops
    return look_at_threads({loop: len(live_tasks(loop)) for loop in known}, stacks=stacks)


def look_at_threads(
    loops: Mapping[asyncio.AbstractEventLoop, int], *, stacks: bool
) -> tuple[list[ThreadSight], list[ExecutorSight], int]:
    """Do it for one who knows how many tasks each loop has; see `threads`."""
    by_ident = {thread.ident: thread for thread in threading.enumerate() if thread.ident}
    frames = sys._current_frames()
    pools = Pools(loops, by_ident.values())
    runs = _Loops(loops)
    me = threading.get_ident()
    made: list[ThreadSight] = []
    main = threading.main_thread().ident
    order = [one for one in by_ident if one in frames]
    order += [one for one in frames if one not in by_ident]
    for ident in sorted(order, key=lambda one: one != main):
        stack = stack_of(frames[ident])
        outermost = _outside_of_threading(stack)
        own = outermost is not None and is_ours(outermost.f_code.co_filename)
        if ident == me and not own:
            stack = _without_asker(stack)
        thread = by_ident.get(ident)
        running = job_of(stack)
        pool = pools.of(thread)
        job = job_name(running) if running else None
        if job is not None:
            pools.note(pool, job, "" if job == IN_C else own_place(running or []))
        if len(made) >= _MOST_THREADS:
            continue
        made.append(
            ThreadSight(
                name=f"thread {ident}" if thread is None else thread.name,
                ident=ident,
                native_id=None if thread is None else thread.native_id,
                daemon=thread is None or thread.daemon,
                site=own_place(stack),
                stack=_steps(stack) if stacks else (),
                loop=runs.of(ident, stack),
                executor=None if pool is None else pool.name,
                job=job,
                own=own,
                current=ident == me,
            )
        )
    del frames
    return made, pools.sights(), max(0, len(order) - len(made))


class _Loops:
    """Tells which thread runs which loop; holds loops, for one look."""

    def __init__(self, loops: Mapping[asyncio.AbstractEventLoop, int]) -> None:
        self._tasks = loops
        self._by_ident: dict[int, asyncio.AbstractEventLoop] = {}
        self._by_frame: dict[int, asyncio.AbstractEventLoop] = {}
        self._others: list[asyncio.AbstractEventLoop] = []
        for loop in loops:
            ident = getattr(loop, "_thread_id", None)  # uvloop's is out of sight
            task = _running_task(loop)
            frame = None if task is None else getattr(task.get_coro(), "cr_frame", None)
            if isinstance(ident, int):
                self._by_ident[ident] = loop
            elif frame is not None:
                self._by_frame[id(frame)] = loop
            elif not isinstance(loop, asyncio.BaseEventLoop):
                self._others.append(loop)

    def of(self, ident: int, stack: list[FrameType]) -> LoopSight | None:
        loop = self._by_ident.get(ident)
        if loop is None:
            loop = next(
                (self._by_frame[id(one)] for one in stack if id(one) in self._by_frame), None
            )
        if loop is not None:
            return self._sight(loop)
        if not any(origin_of(one.f_code.co_filename).module in _RUNNERS for one in stack):
            return None
        # It runs some loop: that one which nobody else runs, when there is only one.
        return self._sight(self._others[0]) if len(self._others) == 1 else LoopSight("", 0, None)

    def _sight(self, loop: asyncio.AbstractEventLoop) -> LoopSight:
        kind = type(loop)
        task = _running_task(loop)
        name = kind.__name__ if kind.__module__.startswith("asyncio.") else _dotted(kind)
        return LoopSight(name, self._tasks[loop], None if task is None else task.get_name())


def _dotted(kind: type[Any]) -> str:
    return f"{kind.__module__.partition('.')[0]}.{kind.__name__}"


def _running_task(loop: asyncio.AbstractEventLoop) -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task(loop)
    except RuntimeError:
        return None


def _without_asker(stack: list[FrameType]) -> list[FrameType]:
    """Leave our own frames at the inner end out: they say only that somebody asks."""
    inner = next((k for k, one in enumerate(stack) if not is_ours(one.f_code.co_filename)), 0)
    return stack[inner:]


def _outside_of_threading(stack: list[FrameType]) -> FrameType | None:
    """Return the outermost frame that is not the beginning of any thread."""
    for frame in reversed(stack):
        if origin_of(frame.f_code.co_filename).module not in (
            "threading",
            "concurrent.futures.thread",
        ):
            return frame
    return None


def _steps(stack: list[FrameType]) -> tuple[ChainFrame, ...]:
    half = _MOST_FRAMES // 2
    skipped = len(stack) - _MOST_FRAMES
    shown = stack if skipped <= 0 else [*stack[:half], *stack[-half:]]
    steps = [
        ChainFrame(one.f_code.co_qualname, one.f_code.co_filename, one.f_lineno or 0)
        for one in reversed(shown)
    ]
    if skipped > 0:
        steps.insert(half, ChainFrame(f"… {skipped} frames left out", "", 0))
    return tuple(steps)
