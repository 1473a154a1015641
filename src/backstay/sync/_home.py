"""What every primitive of this room has: a name, and one event loop that it lives in.

Zero configuration means that a primitive may be made anywhere, also at import
time, before there is a loop. It finds its loop when somebody first has to wait,
and moves to another one only when it is idle or its loop is closed; so a global
lock survives one `asyncio.run` after another, and two loops that share one get
an error in place of a wake-up that is sometimes lost.
"""

from __future__ import annotations

import asyncio
import sys
import types
from asyncio import AbstractEventLoop, Task, get_running_loop
from collections.abc import Awaitable, Callable, Generator
from types import CodeType, FrameType
from typing import Any, Final, cast

from backstay._base import follow_clock
from backstay.errors import SyncMisuse
from backstay.sync._wake_queue import Waiter, WakeQueue, wake_queue

__all__ = ["READY", "Home", "line_at", "place_of", "read_clock", "task_in"]

Place = tuple[CodeType, int]
"""Where something happened: the code and the offset of the instruction; `line_at` reads it."""


@types.coroutine
def _nothing() -> Generator[None, None, None]:
    yield


def _exhausted() -> Awaitable[None]:
    generator = _nothing()
    for _ in cast("Generator[None, None, None]", generator):
        pass
    return generator


READY: Final = _exhausted()
"""Awaiting it takes no time and makes no object: a finished generator ends at once, each time.

What would be an `async def` on a fast path is a plain function that returns this;
a coroutine would cost as much again as the lock itself.
"""

# Who runs in a loop, as one C call. Before 3.12 `current_task` was written in Python, and asking
# for the running loop made a system call, so there the table behind both is read directly.
task_in: Callable[[AbstractEventLoop | None], Task[Any] | None] = (
    asyncio.current_task
    if sys.version_info >= (3, 12)
    else cast("Any", asyncio.tasks)._current_tasks.get
)


class _Clock:
    """Holds the function behind `now()`; see `follow_clock`."""

    __slots__ = ("read",)
    read: Callable[[], float]


read_clock = _Clock()


def _follow(read: Callable[[], float]) -> None:
    read_clock.read = read


follow_clock(_follow)


def place_of(frame: FrameType) -> Place:
    """Note where a frame is; the line is worked out only when somebody asks."""
    return frame.f_code, frame.f_lasti


def line_at(place: Place | None) -> str:
    """Turn a noted place into "file:line"; "" for none."""
    if place is None:
        return ""
    code, offset = place
    line = code.co_firstlineno
    for start, end, number in code.co_lines():
        if start <= offset < end and number is not None:
            line = number
            break
    return f"{code.co_filename}:{line}"


_CONSTRUCTORS: Final = ("backstay.sync.", "backstay.guard.", "typing")


def _maker() -> FrameType:
    """Return the frame that makes a primitive, past the constructors of this room and of guards.

    And past those of `typing`, through which ``SingleFlight[str, int]()`` is made.
    """
    frame = sys._getframe(2)
    while frame.f_globals.get("__name__", "").startswith(_CONSTRUCTORS) and frame.f_back:
        frame = frame.f_back
    return frame


class Home:
    """A primitive's name and its loop.

    Invariant: whoever waits at the primitive waits in `_loop`.
    """

    __slots__ = ("__weakref__", "_loop", "_made", "_name", "_queue")

    _kind = "primitive"  # in the words of error messages: "mutex", "semaphore"

    def __init__(self, name: str) -> None:
        """Take the name as given; without one the line that made the primitive names it."""
        self._name = name
        self._made = None if name else place_of(_maker())
        self._loop: AbstractEventLoop | None = None
        self._queue: WakeQueue  # of `_loop`; not there before anybody had to wait

    @property
    def name(self) -> str:
        """As given, or the line that made it: ``cache.py:12``."""
        made = self._made  # read once: dumps ask from other threads
        if made is not None:
            self._name = line_at(made).replace("\\", "/").rpartition("/")[2]
            self._made = None
        return self._name

    def _title(self) -> str:
        return f"{self._kind} {self.name!r}"

    def _waiter(self) -> Waiter:
        """Make a waiter for the task that is about to wait here."""
        self._move_in()
        return self._queue.waiter()

    def _move_in(self) -> AbstractEventLoop:
        """Return the running loop, which the primitive lives in from now on.

        Raises:
            SyncMisuse: it is in use in another loop.
        """
        loop = get_running_loop()
        before = self._loop
        if before is loop:
            return loop
        if before is not None:
            if before.is_closed():
                self._reset()  # who held it or waited there never comes back
            elif before.is_running() or self._in_use():
                raise SyncMisuse(
                    f"{self._title()} is in use in another event loop, and was asked for here: "
                    f"give each loop its own, and let loops talk through a shared channel"
                )
        self._loop = loop
        self._queue = wake_queue(loop)
        return loop

    def _can_wake(self, verb: str) -> bool:
        """Tell whether those in line can be woken from here; called when there may be any.

        Returns:
            False when their loop is closed; they are forgotten then.

        Raises:
            SyncMisuse: this is another loop, or a thread beside the running loop.
        """
        loop = self._loop
        running = asyncio._get_running_loop()
        if loop is running or loop is None:
            return True
        if loop.is_closed():
            self._reset()
            return False
        if running is not None or loop.is_running():
            raise SyncMisuse(
                f"{verb} of {self._title()} was called outside of the event loop in which tasks "
                f"wait for it: use loop.call_soon_threadsafe"
            )
        return True

    def _in_words(self) -> str:
        """Tell a dump what somebody who waits here waits for; may be called from any thread."""
        return repr(self.name)

    def _in_use(self) -> bool:
        """Whether anybody holds it or waits for it."""
        raise NotImplementedError

    def _reset(self) -> None:
        """Forget everybody who held it or waited for it in a loop that is closed."""
        raise NotImplementedError
