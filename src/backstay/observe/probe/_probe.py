"""One probe: what it watches, what it may cost, and what it has seen so far, as plain values.

`strike` is called in the program's own thread, at the line, each time it is about to run. So it is quick, takes
no lock that anybody could hold for long, keeps no object of the program's, and never raises.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from types import CoroutineType, FrameType
from typing import Any, Final, cast

from backstay._base import now, wall
from backstay.context import TRACE
from backstay.observe.probe._expression import Expression
from backstay.observe.probe._places import Place
from backstay.observe.probe._values import kind_of
from backstay.tasks import current_scope, info

__all__ = ["Hit", "Probe", "ReadVariable"]

_MOST_FRAMES: Final = 50
_LONGEST_NAME: Final = 200
# Where the event loop begins: what lies above says how the program was started, not how it came here.
_FLOOR: Final = ("asyncio/events.py", "asyncio/runners.py", "uvloop/__init__.py")

#: Returns a variable of a frame by name, or raises KeyError; how, depends on the version of Python.
ReadVariable = Callable[[FrameType, str], object]

_task_name = cast("Callable[[Any], str]", asyncio.Task.get_name)  # past what a subclass overrides
_task_coroutine = cast("Callable[[Any], Any]", asyncio.Task.get_coro)


@dataclass(frozen=True, slots=True)
class Hit:
    """One time that the line was about to run.

    Attributes:
        at: unix seconds.
        thread: its name.
        task: the name of the task; None outside of any.
        owner: the names of the scopes that own it, outermost first.
        site: "file:line" that started the task; None when that is not known.
        trace_id: of the request that is being served; None without one.
        stack: "function at file:line" from the task's first call to this line.
        values: what the expressions gave, as text.
    """

    at: float
    thread: str
    task: str | None
    owner: tuple[str, ...]
    site: str | None
    trace_id: str | None
    stack: tuple[str, ...]
    values: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return the hit as JSON values."""
        return asdict(self)


class Probe:
    """A line that is watched, until it has been hit often enough or its time is over."""

    def __init__(
        self,
        number: int,
        place: Place,
        expressions: Sequence[Expression],
        *,
        hits: int,
        seconds: float,
        rate: float,
    ) -> None:
        """Describe it; a board sets it.

        Args:
            number: tells it from others.
            place: what to watch.
            expressions: what to read at each hit.
            hits: how many are recorded.
            seconds: how long at most.
            rate: how many are recorded a second; the others are counted.
        """
        self.number = number
        self.place = place
        self.functions = tuple(dict.fromkeys(code.co_qualname for code in place.codes))
        self.expires = now() + seconds
        self.hits: list[Hit] = []
        self.skipped = 0
        self.failed = 0
        self.ended = ""  # why it is over; "" while it is not
        self._expressions = tuple(expressions)
        self._wanted = hits
        self._pause = 1.0 / rate
        self._next = 0.0
        self._guard = threading.Lock()
        self._busy: set[int] = set()  # threads inside `strike`: what that sets off is no hit

    @property
    def open(self) -> bool:
        """Whether it still wants hits."""
        return not self.ended

    def strike(self, frame: FrameType, read: ReadVariable) -> bool:
        """Record that the line is about to run; return whether more is wanted.

        Cost: 30 to 60 microseconds for a hit that is recorded, one for a hit that is skipped.
        """
        me = threading.get_ident()
        if self.ended:
            return False
        if me in self._busy or not self._guard.acquire(blocking=False):
            self.skipped += 1
            return True
        self._busy.add(me)
        try:
            at = now()
            if at < self._next:
                self.skipped += 1
                return True
            if at >= self.expires:
                self.ended = "time"
                return False
            self._next = at + self._pause
            self.hits.append(self._look(frame, read))
            if len(self.hits) >= self._wanted:
                self.ended = "hits"
        except Exception:  # the program must not meet an error of ours
            self.failed += 1
            if self.failed >= self._wanted:
                self.ended = "failed"
        finally:
            self._busy.discard(me)
            self._guard.release()
        return not self.ended

    def close(self, why: str) -> None:
        """Want no more."""
        self.ended = self.ended or why

    def let_go(self) -> None:
        """Keep no code of the program's, which may want to drop it; the hits stay."""
        self.place = replace(self.place, codes=())

    def _look(self, frame: FrameType, read: ReadVariable) -> Hit:
        task = _current_task()
        owner, site = current_scope(), None
        if task is not None:
            known = info(task)
            site = str(known.site) if known.site is not None else None
            owner = owner or known.owner
        trace_id = TRACE.get() or (owner.trace_id if owner is not None else None)

        def variable(name: str) -> object:
            return read(frame, name)

        return Hit(
            at=round(wall(), 6),
            thread=threading.current_thread().name[:_LONGEST_NAME],
            task=None if task is None else _task_name(task)[:_LONGEST_NAME],
            owner=() if owner is None else owner.path,
            site=site,
            trace_id=trace_id,
            stack=_stack(frame, _outermost(task)),
            values={one.text: one.read(variable) for one in self._expressions},
        )


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def _outermost(task: asyncio.Task[Any] | None) -> FrameType | None:
    """Return the frame of the coroutine that a task runs, where Python knows it."""
    coroutine: Any = None if task is None else _task_coroutine(task)
    if kind_of(coroutine) is not CoroutineType:
        return None
    frame: FrameType | None = coroutine.cr_frame
    return frame


def _stack(frame: FrameType | None, outermost: FrameType | None) -> tuple[str, ...]:
    """Return the calls that lead to a frame, from the task's first one on: the await chain of what runs."""
    found: list[str] = []
    while frame is not None and len(found) < _MOST_FRAMES:
        code = frame.f_code
        if code.co_filename.endswith(_FLOOR):
            break
        found.append(f"{code.co_qualname} at {code.co_filename}:{frame.f_lineno}")
        if frame is outermost:
            break
        frame = frame.f_back
    return tuple(reversed(found))
