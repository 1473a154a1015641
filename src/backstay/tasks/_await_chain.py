"""The way from a task down to what it waits for, frame by frame.

`Task.get_stack()` shows one frame, however deep the task is (cpython#83241).
The whole way is there nevertheless: each suspended coroutine knows what it
awaits (`cr_await`, `gi_yieldfrom`, `ag_await`). Only a few links written in C
hide it (`FutureIter`, `coroutine_wrapper`, `async_generator_asend`,
`anext_awaitable`, and Cython's cousins of these); there the single awaitable
that the garbage collector sees inside is the next link.

Three rules hold in this file, because a dump must not change what it looks at:

1. Never read `f_locals`: on Python 3.11 and 3.12 the snapshot dict that it
   makes stays with the frame and keeps objects alive that the task has long
   dropped.
2. What is returned holds strings and numbers only, never a frame, a future or
   a coroutine.
3. The caller may sit in another thread while the loop runs on. A link may be
   gone when we look at it; then the walk ends there. It never raises.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType
from typing import Any, NamedTuple, cast

from backstay._base import StillFrames
from backstay.tasks._code_origin import origin_of

__all__ = [
    "WRAPPERS",
    "ChainFrame",
    "Walk",
    "await_chain",
    "code_names",
    "coroutine_of",
    "future_of",
    "is_future",
    "is_running",
    "kind_of",
    "line_of",
    "unwrapped",
    "walk",
]

# A chain is cut in the middle beyond this: people read the two ends, and a
# runaway recursion must not make a dump of ten thousand tasks unbounded.
_HEAD = 48
_TAIL = 80
_MAX_STEPS = 20_000
# Frames of a running thread looked at per thread; beyond the recursion limit of most programs.
_MAX_STACK = 4096

# The exact type of a thing. `isinstance` would ask the thing's own `__class__`, which may be
# anybody's code, and type checkers would narrow on `type`, which here only loses the Any.
kind_of: Callable[[Any], type[Any]] = type

_get_coro = cast("Callable[[Any], Any]", asyncio.Task.get_coro)  # past what a subclass overrides

WRAPPERS = frozenset(
    {
        "FutureIter",
        "anext_awaitable",
        "async_generator_asend",
        "async_generator_athrow",
        "coroutine_wrapper",
    }
)


@dataclass(frozen=True, slots=True)
class ChainFrame:
    """One step of the way from a task to what it waits for.

    Attributes:
        function: qualified name of the coroutine, generator or function.
        file: its source file as Python knows it; "" for a mark that frames were left out.
        line: the line that awaits (1-based); 0 when the code does not tell (compiled code).
    """

    function: str
    file: str
    line: int

    def __str__(self) -> str:
        """Show the step the way a traceback line is read: function, then place."""
        return f"{self.function} at {self.file}:{self.line}" if self.file else self.function


class Walk(NamedTuple):
    """The live objects along a chain; must not outlive the call that made it."""

    links: list[Any]  # coroutines and generators, outermost first, cut in the middle when very deep
    skipped: int  # how many links were cut out after the first `_HEAD`
    leaf: Any  # the future at the end, or another awaitable, or None when nothing is awaited


def await_chain(task: asyncio.Task[Any]) -> tuple[ChainFrame, ...]:
    """Show the calls a task is inside of, outermost first.

    For a waiting task these are its suspended coroutines and generators. For
    the task that runs right now (in whichever thread) they are the live
    frames, plain functions included, so the innermost one is what blocks the loop.

    Args:
        task: any asyncio task, tracked or not, of any loop.

    Returns:
        One frame per step; empty for a finished task. Chains of more than
        128 steps are cut in the middle, and a frame with an empty file says so.

    Cost:
        1 to 2 microseconds a step.
    """
    try:
        coroutine = coroutine_of(task)
        if coroutine is None:
            return ()
        running = _running_stack(coroutine)
        if running:
            return _cut(running)
        steps = walk(task)
        frames = [frame for link in steps.links if (frame := _chain_frame(link)) is not None]
    except (
        Exception
    ):  # rule 3: the task may change under our eyes, an empty answer is the honest one
        return ()
    return _with_gap(frames, steps.skipped)


def walk(task: asyncio.Task[Any]) -> Walk:
    """Follow what a suspended task awaits, down to the leaf.

    Returns:
        The live links. Callers must let go of them before they return.
    """
    head: list[Any] = []
    tail: deque[Any] = deque(maxlen=_TAIL)
    here: Any = coroutine_of(task)
    count = steps = 0
    leaf: Any = None
    while here is not None and steps < _MAX_STEPS:
        steps += 1
        is_link, following = _next(here)
        if is_link:
            count += 1
            (head if len(head) < _HEAD else tail).append(here)
        elif following is None:
            leaf = here
        elif any(
            following is link for link in head
        ):  # an iterator that leads back to where we were
            break
        here = following
    if leaf is None or not is_future(leaf):
        leaf = future_of(task) or leaf
    return Walk([*head, *tail], count - len(head) - len(tail), leaf)


def is_future(thing: object) -> bool:
    """Tell futures (and tasks) from other things without running any code of theirs."""
    kind = kind_of(thing)
    return issubclass(kind, asyncio.Future) or hasattr(kind, "_asyncio_future_blocking")


def is_running(link: Any) -> bool:
    """Tell whether a coroutine or generator is being executed at this moment."""
    return bool(_attribute(link, "running"))


def code_names(link: Any) -> tuple[str, str, str]:
    """Name the code of a link: its file, its module and its qualified name.

    Compiled (Cython) coroutines name their module themselves; for the others
    the file tells it.
    """
    kind = kind_of(link)
    if kind is CoroutineType:
        code = link.cr_code
    elif kind is GeneratorType:
        code = link.gi_code
    elif kind is AsyncGeneratorType:
        code = link.ag_code
    else:
        code = _attribute(link, "code")
        file = str(getattr(code, "co_filename", "")) or "<compiled>"
        return file, str(link.__module__ or ""), str(link.__qualname__)
    return code.co_filename, origin_of(code.co_filename).module, code.co_qualname


def line_of(link: Any) -> int:
    """Tell the line at which a suspended coroutine or generator waits; 0 when unknown.

    The frame is asked for its line number and dropped at once.
    """
    frame = _attribute(link, "frame")
    return _line(frame) if frame is not None else 0


def _next(here: Any) -> tuple[bool, Any]:
    """Return whether this is a link with a frame, and what it awaits."""
    kind = kind_of(here)
    if kind is CoroutineType:
        return True, here.cr_await
    if kind is AsyncGeneratorType:
        return True, here.ag_await
    if kind is GeneratorType:
        return True, here.gi_yieldfrom
    if is_future(here):
        return False, None
    if hasattr(kind, "cr_await") and hasattr(
        kind, "cr_code"
    ):  # Cython: same attributes, other type
        return True, here.cr_await
    return False, unwrapped(here)


def unwrapped(wrapper: Any) -> Any:
    """Find the single awaitable inside a link written in C (or inside a hand-written iterator)."""
    known = kind_of(wrapper).__name__.lstrip("_") in WRAPPERS
    found: list[Any] = []
    for inside in gc.get_referents(wrapper):
        if _is_awaitable(inside):
            if known:
                # The awaitable is the first thing these visit; a value sent into
                # a generator, or the default of anext(), comes after it.
                return inside
            if not any(inside is other for other in found):
                found.append(inside)
    return found[0] if len(found) == 1 else None


def _is_awaitable(thing: Any) -> bool:
    kind = kind_of(thing)
    if kind in (CoroutineType, AsyncGeneratorType, GeneratorType):
        return True
    return (
        kind.__name__.lstrip("_") in WRAPPERS
        or is_future(thing)
        or (hasattr(kind, "cr_await") and hasattr(kind, "cr_code"))
    )


def coroutine_of(task: asyncio.Task[Any]) -> Any:
    """Return what a task runs, past what a subclass of `Task` overrides."""
    if issubclass(kind_of(task), asyncio.Task):
        return _get_coro(task)
    return task.get_coro()  # a task type of somebody else's making


def future_of(task: asyncio.Task[Any]) -> Any:
    """Return the future whose end will wake a task; None when there is none."""
    return getattr(task, "_fut_waiter", None)


def _attribute(link: Any, name: str) -> Any:
    """Read `cr_<name>`, `gi_<name>` or `ag_<name>`, whichever the link has."""
    for prefix in ("cr_", "gi_", "ag_"):
        if hasattr(kind_of(link), prefix + name):
            return getattr(link, prefix + name)
    return None


def _line(frame: FrameType) -> int:
    # Compiled code has frames without a line; Python's own may have none between two lines.
    return cast("int | None", frame.f_lineno) or 0


def _chain_frame(link: Any) -> ChainFrame | None:
    frame = _attribute(link, "frame")
    if frame is None:
        return None  # it has ended, maybe this very moment
    file, _, function = code_names(link)
    return ChainFrame(function, file, _line(frame))


def _running_stack(coroutine: Any) -> list[ChainFrame]:
    """Collect the live frames from a running coroutine inwards, outermost first."""
    if not is_running(coroutine):
        return []
    with StillFrames():
        return _stack_down_to(_attribute(coroutine, "frame"))


def _stack_down_to(root: Any) -> list[ChainFrame]:
    for innermost in sys._current_frames().values():
        stack: list[ChainFrame] = []
        frame: FrameType | None = innermost
        while frame is not None and len(stack) < _MAX_STACK:
            code = frame.f_code
            # Our own frames at the inner end say only that somebody is asking.
            if stack or not origin_of(code.co_filename).module.startswith("backstay."):
                stack.append(ChainFrame(code.co_qualname, code.co_filename, _line(frame)))
            if frame is root:
                return stack[::-1]
            frame = frame.f_back
    return []


def _cut(frames: list[ChainFrame]) -> tuple[ChainFrame, ...]:
    skipped = len(frames) - _HEAD - _TAIL
    if skipped <= 0:
        return tuple(frames)
    return _with_gap(frames[:_HEAD] + frames[-_TAIL:], skipped)


def _with_gap(frames: list[ChainFrame], skipped: int) -> tuple[ChainFrame, ...]:
    if skipped:
        frames.insert(_HEAD, ChainFrame(f"… {skipped} frames left out", "", 0))
    return tuple(frames)
