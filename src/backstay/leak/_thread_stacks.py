"""What the stack of a thread says: where it stands, and which job of an executor it runs.

The worker of a `ThreadPoolExecutor` waits in `_worker` itself; while it is at work, `_WorkItem.run`
stands above that, and above it the job. Frames must not be kept, and not be looked
into: they are somebody's who runs on.
"""

from __future__ import annotations

from types import FrameType

from backstay._base import StillFrames
from backstay.leak._places import is_ours
from backstay.tasks._code_origin import origin_of

__all__ = ["IN_C", "job_name", "job_of", "own_place", "stack_of"]

IN_C = "a function that is not written in Python"
"""The name of a job whose function has no frame."""

_WORKER = "concurrent.futures.thread"
_MOST_FRAMES = 1_000


def stack_of(frame: FrameType | None) -> list[FrameType]:
    """Return the frames of a thread, innermost first."""
    stack: list[FrameType] = []
    with StillFrames():
        while frame is not None and len(stack) < _MOST_FRAMES:
            stack.append(frame)
            frame = frame.f_back
    return stack


def job_of(stack: list[FrameType]) -> list[FrameType] | None:
    """Return the frames of the job that a thread runs, innermost first.

    Returns:
        None for a thread that is no worker of an executor; no frames for a worker that idles, or
        that hands a result over.
    """
    worker = next((k for k, one in enumerate(stack) if _is_worker(one)), None)
    if worker is None:
        return None
    running = stack[:worker]
    if not running or running[-1].f_code.co_name != "run":
        return []  # it waits for a job, or initializes itself
    return [] if len(running) > 1 and _of_executor(running[-2]) else running


def job_name(running: list[FrameType]) -> str:
    """Name the outermost function of a job, within what hands it to the thread."""
    inside = [one for one in running[:-1] if not is_ours(one.f_code.co_filename)]
    return inside[-1].f_code.co_qualname if inside else IN_C


def own_place(stack: list[FrameType]) -> str:
    """Return where a thread stands as "path:line", absolute: its innermost line of the program's own code.

    Where there is none, its innermost line; "" for a thread that is about to begin or to end.
    """
    for frame in stack:
        if not origin_of(frame.f_code.co_filename).library:
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
    return f"{stack[0].f_code.co_filename}:{stack[0].f_lineno}" if stack else ""


def _is_worker(frame: FrameType) -> bool:
    code = frame.f_code
    return code.co_name == "_worker" and origin_of(code.co_filename).module == _WORKER


def _of_executor(frame: FrameType) -> bool:
    return origin_of(frame.f_code.co_filename).module.startswith("concurrent.futures")
