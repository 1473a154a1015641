"""The `native` profile: memory that C code has allocated within a window, by the Python line that called it.

tracemalloc sees what goes through Python's allocators. What numpy, a database driver or a compressor takes from the
system by itself is seen by memray alone, which stands in for malloc while it is at work.
"""

from __future__ import annotations

import importlib
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from backstay._base import wall
from backstay.observe.profile._asked import Refused, Wait
from backstay.observe.profile._heap import HEAP_KINDS
from backstay.observe.profile._main_thread import in_main_thread
from backstay.observe.profile._profile import Frame, Profile, Table, add, gathered

__all__ = ["native_profile"]

_FRAMES: Final = 32  # of each stack
_MOST_STACKS: Final = 50_000

_window = threading.Lock()  # memray has one tracker a process


def native_profile(seconds: float, wait: Wait) -> Profile:
    """Have memray watch for some seconds, and tell what was allocated and not freed meanwhile.

    Args:
        seconds: how long.
        wait: how to wait; may be cut short.

    Raises:
        Refused: 503 without memray or when the main thread cannot be reached, 409 when it is at work already.

    Cost: the process runs at about half its speed within the window; nothing before and after it.
    """
    memray = _memray()
    if not _window.acquire(blocking=False):
        raise Refused(409, "memory is being watched already: try again soon")
    try:
        with tempfile.TemporaryDirectory(prefix="backstay-") as room:
            file = Path(room) / "allocations"
            began = wall()
            _watched(memray, file, lambda: wait(seconds))
            table, left_out = _read(memray, file)
            lasted = wall() - began
    finally:
        _window.release()
    comments = [
        f"allocated from the system within {seconds:g} s and not freed; small objects of Python lie in arenas"
    ]
    if left_out:
        comments.append(f"{left_out} further stacks were left out")
    return Profile(
        HEAP_KINDS,
        gathered(table),
        HEAP_KINDS[1],
        1,
        taken_at=began,
        duration_s=lasted,
        comments=tuple(comments),
        default="inuse_space",
    )


def _memray() -> Any:
    try:
        return importlib.import_module("memray")
    except ImportError as error:
        raise Refused(
            503,
            "memory of C code is watched by memray, and there is none: pip install 'backstay[memray]' where the "
            "process runs; kind heap needs nothing",
        ) from error


def _watched(memray: Any, file: Path, until: Callable[[], object]) -> None:
    """Have the tracker at work; it learns the stack of the thread that starts it, so that is the main one."""
    tracker = memray.Tracker(file, file_format=memray.FileFormat.AGGREGATED_ALLOCATIONS)
    try:
        if not in_main_thread(tracker.__enter__):
            raise Refused(503, "the main thread did not come round within 2 s: try again")
    except RuntimeError as error:  # somebody's own tracker
        raise Refused(409, f"memray cannot watch: {error}") from error
    try:
        until()
    finally:
        if not in_main_thread(lambda: tracker.__exit__(None, None, None)):
            tracker.__exit__(None, None, None)


def _read(memray: Any, file: Path) -> tuple[Table, int]:
    """Read what the tracker has added up: one record a stack, so there are not many."""
    table: Table = {}
    left_out = 0
    with memray.FileReader(file) as reader:
        for record in reader.get_leaked_allocation_records(merge_threads=True):
            stack = tuple(
                Frame(name, path, line)
                for name, path, line in record.stack_trace(max_stacks=_FRAMES)
            ) or (Frame("(outside of Python)", "", 0),)
            if (stack, ()) not in table and len(table) >= _MOST_STACKS:
                left_out += 1
                continue
            add(table, (stack, ()), (record.n_allocations, record.size))
    return table, left_out
