"""The switch on Python 3.11, which has no local events: `sys.settrace` while a probe is set, and not longer.

The trace function declines every frame but those of the watched code, so lines are reported of these only; but
each call of any Python function in the thread asks it once, which is what a probe costs there. A thread that
has a trace function already (a debugger, coverage) is left alone, and told.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from backstay.errors import UsageError
from backstay.observe.probe._monitoring import Struck, Watched
from backstay.observe.probe._places import suspended
from backstay.tasks import installed_loops

__all__ = ["Tracing"]

# Seconds in which a loop has to come round for its thread to be watched.
_PATIENCE_S: Final = 2.0
# The frame's reference, our variable's, and that of the argument.
_OURS_ALONE: Final = 3


class Tracing:
    """Calls `struck` at the lines it was told, in the threads of all tracked loops, and in threads begun later."""

    def __init__(self, struck: Struck) -> None:
        """Prepare; nothing is switched on before `watch`."""
        self._struck = struck
        self._watched: Watched = {}
        self._loops: list[asyncio.AbstractEventLoop] = []

    def watch(self, lines: Watched) -> None:
        """Watch these lines and no others; with none, leave no trace.

        Raises:
            UsageError: a debugger or coverage traces the program, or no loop comes round.
        """
        former, self._watched = self._watched, dict(lines)
        if lines and not former:
            self._switch_on()
        added = [code for key, (code, _) in lines.items() if key not in former]
        if added:
            for frame in suspended(added):
                frame.f_trace = self._local
        if former and not lines:
            self._switch_off(former)

    def _switch_on(self) -> None:
        if threading.gettrace() is not None:
            self._watched = {}
            raise UsageError("no probe can be set: the program is traced by a debugger or coverage")
        loops = installed_loops()
        refused: list[str] = []

        def begin() -> None:
            if sys.gettrace() is not None:
                refused.append("the program is traced by a debugger or coverage")
            else:
                sys.settrace(self._call)

        late = _in_each(loops, begin)
        if late and not refused:
            refused.append(
                f"{late} of {len(loops)} loops did not come round within {_PATIENCE_S:g} s"
            )
        if not loops:
            refused.append("no loop of this process is tracked")
        self._loops = loops
        if refused:
            self._watched = {}
            _in_each(loops, self._end)
            raise UsageError(f"no probe can be set: {refused[0]}")
        threading.settrace(self._call)

    def _switch_off(self, former: Watched) -> None:
        """Leave no trace function behind, nor the variables that frames were made to keep for it."""
        threading.settrace(None)
        late = _in_each(self._loops, self._end)
        self._loops = []
        for frame in suspended(code for code, _ in former.values()):
            if frame.f_trace == self._local:
                frame.f_trace = None
            if (
                not late
            ):  # nobody is inside a trace function any more, which would write the variables back
                _forget_variables(frame)

    def _end(self) -> None:
        if sys.gettrace() == self._call:
            sys.settrace(None)

    def _call(self, frame: FrameType, event: str, _: Any) -> Any:
        """Be told of a call; in the program's thread. Declines all but the watched code."""
        if id(frame.f_code) in self._watched:
            return self._local
        if not self._watched:  # a thread that could not be reached when the last probe went
            sys.settrace(None)
        return None

    def _local(self, frame: FrameType, event: str, _: Any) -> Any:
        """Be told of a line of a watched function."""
        wanted = self._watched.get(id(frame.f_code))
        if wanted is None:
            return None
        if event == "line" and frame.f_lineno in wanted[1]:
            self._struck(frame, frame.f_code, frame.f_lineno)
        return self._local


def _forget_variables(frame: FrameType) -> None:
    """Empty the dict that tracing has made of a waiting function's variables, unless the program has it too."""
    variables: Any = frame.f_locals
    if frame.f_code.co_flags & inspect.CO_OPTIMIZED and sys.getrefcount(variables) == _OURS_ALONE:
        variables.clear()


def _in_each(loops: list[asyncio.AbstractEventLoop], action: Callable[[], None]) -> int:
    """Run `action` in the thread of each loop; return how many did not come round."""
    waits: list[threading.Event] = []
    for loop in loops:
        done = threading.Event()

        def act(done: threading.Event = done) -> None:
            action()
            done.set()

        try:
            loop.call_soon_threadsafe(act)
        except RuntimeError:  # closed since we looked
            continue
        waits.append(done)
    return sum(not done.wait(_PATIENCE_S) for done in waits)
