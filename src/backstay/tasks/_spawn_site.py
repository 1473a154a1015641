"""Where a task was started: the first line of the caller's own code.

Between a task and the line that a person would call "where it was started" lie
frames of machinery: `asyncio.create_task`, `TaskGroup`, anyio, our own `go`.
They are skipped by the identity of their module's globals, which is one set
look-up per frame; comparing code objects instead would hash bytecode (about a
microsecond each since 3.12), and comparing file names would hash strings.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

__all__ = ["Machinery", "SpawnSite", "resolve_site"]

# Modules that start tasks on behalf of somebody else. The caller is looked for above them.
_MACHINERY = frozenset(
    (
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
        "anyio.abc._tasks",
        "anyio.from_thread",
        "async_timeout",
        "contextlib",
        "functools",
        "uvloop",
        "backstay.leak._spawn_caps",
        "backstay.multiloop._multiloop",
        "backstay.tasks._go",
        "backstay.tasks._run",
        "backstay.tasks._scope",
        "backstay.tasks._tracking",
    )
)

# Where the event loop itself begins. A task started by a bare callback has no
# calling line; walking on would blame the line that runs the whole program.
_LOOP_FLOOR = frozenset(("asyncio.events", "asyncio.runners", "uvloop"))

# Programs that run generated code make namespaces without end; the memory of them is bounded.
_MOST_MODULES = 10_000


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
    """Tells machinery from user code, by the identity of a frame's globals.

    Each module is judged by its name once, when it is first met, so modules may
    load at any time. Identities of namespaces that are gone may be used again;
    then, at worst, one task's site is a frame too high or too low.
    """

    __slots__ = ("floor", "skip", "user")

    def __init__(self) -> None:
        """Know nothing yet."""
        self.user: set[int] = set()  # ids of the globals of code that starts tasks for itself
        self.skip: set[int] = set()  # … of code that starts them for somebody else
        self.floor: set[int] = set()  # the part of `skip` where the event loop itself begins

    def learn(self, namespace: dict[str, Any]) -> bool:
        """Judge a module met for the first time; return whether it is user code."""
        name = namespace.get("__name__")
        if name not in _MACHINERY:
            if len(self.user) > _MOST_MODULES:
                self.user.clear()
            self.user.add(id(namespace))
            return True
        self.skip.add(id(namespace))
        if name in _LOOP_FLOOR:
            self.floor.add(id(namespace))
        return False

    def caller(self, frame: FrameType | None) -> FrameType | None:
        """Return the nearest frame at or above `frame` that is user code, or None."""
        while frame is not None:
            module = id(frame.f_globals)
            if module in self.user or (module not in self.skip and self.learn(frame.f_globals)):
                return frame
            if module in self.floor:
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
