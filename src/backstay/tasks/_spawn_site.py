"""Where a task was started: the first line of the caller's own code.

Between a task and the line that a person would call "where it was started" lie
frames of machinery: `asyncio.create_task`, `TaskGroup`, anyio, our own `go`.
They are skipped by the identity of their module's globals, which is one set
look-up per frame; comparing code objects instead would hash bytecode (about a
microsecond each since 3.12), and comparing file names would hash strings.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import CodeType, FrameType

__all__ = ["Machinery", "SpawnSite", "resolve_site"]

# Modules that start tasks on behalf of somebody else. The caller is looked for above them.
_MACHINERY = (
    "asyncio.base_events",
    "asyncio.locks",
    "asyncio.queues",
    "asyncio.runners",
    "asyncio.staggered",
    "asyncio.streams",
    "asyncio.subprocess",
    "asyncio.taskgroups",
    "asyncio.tasks",
    "asyncio.threads",
    "asyncio.timeouts",
    "asyncio.unix_events",
    "asyncio.selector_events",
    "asyncio.futures",
    "asyncio.events",
    "anyio._backends._asyncio",
    "anyio._core._tasks",
    "anyio.from_thread",
    "async_timeout",
    "contextlib",
    "functools",
    "uvloop",
    "backstay.tasks._go",
    "backstay.tasks._run",
    "backstay.tasks._scope",
    "backstay.tasks._tracking",
)

# Where the event loop itself begins. A task started by a bare callback has no
# calling line; walking on would blame the line that runs the whole program.
_LOOP_FLOOR = ("asyncio.events", "asyncio.runners", "uvloop")


@dataclass(frozen=True, slots=True)
class SpawnSite:
    """A line of code that started a task."""

    file: str  # absolute path
    line: int  # 1-based; 0 when unknown
    function: str  # qualified name of the function that contains the line

    def __str__(self) -> str:
        """``file:line``, the form that editors and terminals make clickable."""
        return f"{self.file}:{self.line}"


class Machinery:
    """The modules to look past, by the identity of their globals.

    Modules load at any time, so the set is refreshed now and then; a module's
    globals live as long as the process, so an id in the set never goes stale.
    """

    __slots__ = ("_modules_seen", "floor", "skip")

    def __init__(self) -> None:
        """Take the modules that are loaded now."""
        self.skip: set[int] = set()
        self.floor: set[int] = set()
        self._modules_seen = 0
        self.refresh()

    def refresh(self) -> None:
        """Look for machinery that was imported since the last time; cheap when nothing was."""
        if len(sys.modules) == self._modules_seen:
            return
        self._modules_seen = len(sys.modules)
        for name in _MACHINERY:
            module = sys.modules.get(name)
            if module is not None:
                self.skip.add(id(module.__dict__))
                if name in _LOOP_FLOOR:
                    self.floor.add(id(module.__dict__))

    def caller(self, frame: FrameType | None) -> FrameType | None:
        """Return the nearest frame at or above `frame` that is nobody's machinery, or None."""
        skip = self.skip
        while frame is not None:
            scope = id(frame.f_globals)
            if scope not in skip:
                return frame
            if scope in self.floor:
                return None
            frame = frame.f_back
        return None


def resolve_site(code: CodeType | None, lasti: int) -> SpawnSite | None:
    """Turn what was stamped at birth into file, line and function."""
    if code is None:
        return None
    line = code.co_firstlineno
    for start, end, number in code.co_lines():
        if start <= lasti < end and number is not None:
            line = number
            break
    return SpawnSite(code.co_filename, line, code.co_qualname)
