"""What another thread can see of a running loop without disturbing it.

A loop that waits has nothing but its own frames on its thread's stack; a loop
at work has a callback above them. So looking at the stack tells idle from
busy, and "still the same callback" from "the next one", and an idle loop is
not even woken to be watched. Where the stack cannot be trusted (a build
without the GIL, where frames move under our eyes), the loop is asked instead.

What is taken from the stack is turned into text at once. The one frame that is
kept between two looks is the loop's own, `Handle._run`: it holds the callback
and nothing of the user's, and keeping it is what makes "the same" certain,
since the address of a frame that is gone is used again at once.

The watching thread may itself be kept from running, for example by a loop that
takes the interpreter's lock back as soon as it has let go of it. To know
afterwards when the loop last came round, it is read from the frame of the stock
loop's present turn, which has noted the time; uvloop has no such frame and
carries a timer of ours that does.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any, Literal

from backstay._base import StillFrames, now
from backstay.tasks._code_origin import origin_of

__all__ = ["Look", "LoopSight", "Sample", "sees_frames"]

_HANDLE_RUN: CodeType = asyncio.Handle._run.__code__
_StockLoop: Any = asyncio.BaseEventLoop  # what it does in private is in no stub
_RUN_ONCE: CodeType = _StockLoop._run_once.__code__
_MOST_FRAMES = 4096  # looked at; beyond the recursion limit of most programs
_STACK_DEPTH = 16  # kept

Seen = Literal["idle", "same", "other", "unknown"]


def sees_frames() -> bool:
    """Tell whether frames of a running thread can be read here: not without the GIL."""
    has_gil = getattr(sys, "_is_gil_enabled", None)
    return has_gil is None or bool(has_gil())


@dataclass(frozen=True, slots=True)
class Look:
    """What one look has shown."""

    seen: Seen
    sample: Sample | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """Where a thread was at one moment, as text."""

    site: str  # "file:line"
    function: str
    stack: tuple[str, ...] = field(compare=False)  # "function at file:line", innermost first


class LoopSight:
    """The eye on one loop, used by one watching thread.

    Attributes:
        thread: the name of the thread that runs the loop, "" before it is known.
        asked: whether a question is on its way to the loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, beat_every: float) -> None:
        """Look at nothing yet.

        Args:
            loop: which one.
            beat_every: seconds between two beats of the timer, where one is needed.
        """
        self.loop = loop
        self._beat_every = beat_every
        self._beat_at: float | None = None  # when the timer last ran; None while there is none
        self._left = False
        self.thread = ""
        self.asked = False
        self._met = False  # whether the loop has answered once, and said who runs it
        self._ident: int | None = None
        self._cpu_clock: int | None = None
        self._base: FrameType | None = (
            None  # the frame below all callbacks of a loop without frames
        )
        self._marker: FrameType | None = None  # the lowest frame of the callback seen last
        self._answers: list[float] = []

    # -- asking the loop ---------------------------------------------------------

    def ask(self) -> None:
        """Send a question to the loop, unless one is on its way."""
        if self.asked:
            return
        self.asked = True
        try:
            self.loop.call_soon_threadsafe(self._answer)
        except RuntimeError:  # closed since we looked
            self.asked = False

    def _answer(self) -> None:
        """Run on the loop: say that it came round, and who runs it."""
        if not self._met:
            self._met = True
            frame = sys._getframe(1)
            self._base = None if frame.f_code is _HANDLE_RUN else frame
            self.thread = threading.current_thread().name
            get_clock = getattr(time, "pthread_getcpuclockid", None)
            self._cpu_clock = None if get_clock is None else get_clock(threading.get_ident())
            self._ident = threading.get_ident()
        self._answers.append(now())
        if self._base is not None and self._beat_at is None:
            self._beat()

    def _beat(self) -> None:
        """Note that the loop came round, and once more in a while."""
        if not self._left:
            self._beat_at = now()
            self.loop.call_later(self._beat_every, self._beat)

    def leave(self) -> None:
        """Leave nothing on the loop."""
        self._left = True

    def answered_at(self) -> float | None:
        """Return when the loop answered the question, once; None while it has not."""
        if not self._answers:
            return None
        self.asked = False
        return self._answers.pop()

    # -- looking at its thread ---------------------------------------------------

    def look(self) -> Look:
        """See what the loop does, and where, without waking it (but for the first time)."""
        if not self._met:
            self.ask()
        if not sees_frames():
            return Look("unknown")
        with StillFrames():
            return self._look()

    def _look(self) -> Look:
        self._find_thread()
        if self._ident is None:
            return Look("unknown")
        frame = sys._current_frames().get(self._ident)
        if frame is None:
            return Look("idle")
        try:
            marker = self._lowest(frame)[0]
            same = marker is self._marker
            self._marker = marker
            if marker is None:
                return Look("idle")
            return Look("same" if same else "other", _sample(frame, marker))
        finally:
            del frame

    def came_round_at(self) -> float | None:
        """Return when the loop, at work now, last came round; None when nobody knows."""
        if self._base is not None:
            return self._beat_at
        with StillFrames():
            return self._turn_began_at()

    def _turn_began_at(self) -> float | None:
        frame = None if self._ident is None else sys._current_frames().get(self._ident)
        if frame is None:
            return None
        try:
            marker, turn = self._lowest(frame)
            if marker is None or turn is None:
                return None
            # The loop's own frame, so its variables may be read: this one is the time at
            # which it began to run the callbacks of this turn.
            noted: object = turn.f_locals.get("end_time")
            return noted if isinstance(noted, float) else None
        finally:
            del frame

    def sample(self) -> Sample | None:
        """See where the loop's thread is, whatever the loop does."""
        with StillFrames():
            return self._sample()

    def _sample(self) -> Sample | None:
        self._find_thread()
        frame = None if self._ident is None else sys._current_frames().get(self._ident)
        try:
            return None if frame is None else _sample(frame, None)
        finally:
            del frame

    def _find_thread(self) -> None:
        """Learn who runs the loop; it may be blocked from its first step on and not answer."""
        if not isinstance(self.loop, asyncio.BaseEventLoop):
            if self._ident is None:
                self._find_by_task()
            return
        ident: int | None = getattr(self.loop, "_thread_id", None)
        if ident != self._ident:
            self._ident = ident
            self.thread = _name_of(ident)

    def _find_by_task(self) -> None:
        """Find the thread whose stack holds the running task; below that begins the loop."""
        task = self.running_task()
        lowest: FrameType | None = (
            None if task is None else getattr(task.get_coro(), "cr_frame", None)
        )
        if lowest is None:
            return
        for ident, frame in sys._current_frames().items():
            here: FrameType | None = frame
            while here is not None and here is not lowest:
                here = here.f_back
            if here is not None and here.f_back is not None:
                self._ident, self._base, self.thread = ident, here.f_back, _name_of(ident)
                return

    def _lowest(self, frame: FrameType) -> tuple[FrameType | None, FrameType | None]:
        """Return the lowest frame of the callback that runs, if any, and that of the turn."""
        here: FrameType | None = frame
        base, found = self._base, None
        if base is not None:
            while here is not None and here is not base:
                found, here = here, here.f_back
            return found, None
        turn: FrameType | None = None
        marker: FrameType | None = None
        while here is not None:
            if here.f_code is _RUN_ONCE:
                turn, marker = here, found  # go on: a callback may run a loop of its own
            elif here.f_code is _HANDLE_RUN:
                found = here
            here = here.f_back
        return marker, turn

    def cpu_s(self) -> float | None:
        """Return the processor time of the loop's thread, None where the system does not tell."""
        if self._cpu_clock is None:
            return None
        try:
            return time.clock_gettime(self._cpu_clock)
        except OSError:  # the thread has ended
            return None

    def running_task(self) -> asyncio.Task[Any] | None:
        """Return the task that runs on the loop right now, None for a bare callback."""
        try:
            return asyncio.current_task(self.loop)
        except RuntimeError:
            return None


def _name_of(ident: int | None) -> str:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return names.get(ident, "")


def _sample(frame: FrameType, lowest: FrameType | None) -> Sample:
    """Put the stack from `frame` down to `lowest` into words.

    The site is the innermost line of the user's own code: somebody who calls a
    library that blocks wants to see the call and not the library's socket.
    """
    stack: list[str] = []
    site: tuple[str, str] | None = None
    innermost = ("", "")
    here: FrameType | None = frame
    for _ in range(_MOST_FRAMES):
        if here is None or here.f_code is _HANDLE_RUN:
            break
        if site is not None and len(stack) == _STACK_DEPTH:
            break
        code = here.f_code
        place = f"{code.co_filename}:{here.f_lineno or code.co_firstlineno}"
        if not stack:
            innermost = (place, code.co_qualname)
        if site is None and not origin_of(code.co_filename).library:
            site = (place, code.co_qualname)
        if len(stack) < _STACK_DEPTH:
            stack.append(f"{code.co_qualname} at {place}")
        if here is lowest:
            break
        here = here.f_back
    place, function = site or innermost
    return Sample(place, function, tuple(stack))
