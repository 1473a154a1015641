"""What the interpreter waits for when it exits: threads, jobs of executors; and child processes.

A thread is shown where it stands now, at its innermost line of the program's own code. A
worker of a `ThreadPoolExecutor` counts as the job that it runs, and as nothing while it
idles: the executor ends it at once when asked to.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

from backstay.leak._keeper import Keeper, counted, named_code
from backstay.leak._places import is_ours, relative
from backstay.leak._thread_stacks import job_name, job_of, own_place, stack_of
from backstay.leak._timers import parts_of
from backstay.tasks._await_chain import kind_of
from backstay.tasks._code_origin import origin_of

__all__ = ["process_keepers"]

_MOST_CHILDREN = 1_000
_LONGEST_NAME = 80


def process_keepers(loops: Iterable[asyncio.AbstractEventLoop]) -> list[Keeper]:
    """Name threads, jobs and child processes; callable from any thread.

    Args:
        loops: whose default executors are told from other ones.
    """
    executors = [
        part
        for loop in loops
        for part in {id(one): one for one in parts_of(loop)}.values()
        if issubclass(kind_of(part), ThreadPoolExecutor)
    ]
    return counted([*_threads(executors), *_queued(executors), *_children()])


def _threads(executors: list[Any]) -> Iterator[Keeper]:
    of_loops = {id(thread) for executor in executors for thread in list(executor._threads)}
    frames = sys._current_frames()
    me = threading.current_thread()
    for thread in threading.enumerate():
        if thread is me or thread is threading.main_thread():
            continue
        frame = frames.get(thread.ident or 0)
        stack = stack_of(frame)
        module = origin_of(stack[-1].f_code.co_filename).module if stack else ""
        running = job_of(stack)
        if running is not None:
            if running:
                where = "the default executor" if id(thread) in of_loops else "an executor"
                yield Keeper(
                    "job", job_name(running), _place(running), f"in {where}, {thread.name}", 1, True
                )
        elif not thread.daemon and not is_ours(module):
            target: Any = getattr(thread, "_target", None)
            name = f"{thread.name}" + (f" in {named_code(target)[0]}" if target else "")
            yield Keeper("thread", name, _place(stack), "", 1, True)
    del frames


def _queued(executors: list[Any]) -> Iterator[Keeper]:
    for executor in executors:
        waiting: int = executor._work_queue.qsize()
        if waiting:
            yield Keeper("job", "queued for a free thread", "", "", waiting, True)


def _place(stack: list[FrameType]) -> str:
    return relative(own_place(stack))


# -- child processes -------------------------------------------------------------


def _children() -> Iterator[Keeper]:
    for pid in _child_pids():
        status = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        # The first argument alone, and of it no more than the name: what follows may be secret.
        command = _read(f"/proc/{pid}/cmdline").partition("\0")[0].split(" ")[0]
        name = command.rpartition("/")[2] or _read(f"/proc/{pid}/comm").strip() or "a process"
        ended = bool(status) and status[0] == "Z"
        detail = "ended, and nobody has waited for it" if ended else f"pid {pid}"
        printable = "".join(c if c.isprintable() else "?" for c in name[:_LONGEST_NAME])
        yield Keeper("process", printable, "", detail, 1, False)


def _child_pids() -> list[int]:
    found: list[int] = []
    try:
        for thread in Path("/proc/self/task").iterdir():
            found += map(int, _read(f"{thread}/children").split())
    except OSError:
        return []  # not Linux
    return found[:_MOST_CHILDREN]


def _read(path: str) -> str:
    try:
        return Path(path).read_bytes().decode(errors="replace")
    except OSError:
        return ""  # it has just ended
