"""The last resort: ends a process that does not manage to end itself.

A shutdown runs on the loop, so it cannot help when the loop is blocked, nor
when, after the loop, Python waits for a thread that never returns. This thread
can: it is started before anything goes wrong and waits for the first signal.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence

from backstay._base import ShutdownOverrun, shutdown_overrun

__all__ = ["ExitWatchdog"]

#: Seconds after the budget, so that a shutdown that just makes it is left alone.
MARGIN_S = 1.0


class ExitWatchdog:
    """Ends the process some seconds after it was armed, unless it has ended by then.

    Attributes:
        code: exit code to end with; 1 until the shutdown sequence knows better.
    """

    def __init__(
        self,
        describe: Callable[[], Sequence[str]],
        *,
        last_act: Callable[[], object] = lambda: None,
        leave: Callable[[int], object] = os._exit,
    ) -> None:
        """Prepare; `start` makes the thread.

        Args:
            describe: returns lines about what is left, for the log.
            last_act: a quick clean-up that must happen, such as removing a file.
            leave: ends the process; tests pass something milder.
        """
        self.code = 1
        self._describe = describe
        self._last_act = last_act
        self._leave = leave
        self._seconds = 0.0
        self._armed = threading.Event()
        self._disarmed = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> ExitWatchdog:
        """Begin to wait for `arm`, in a daemon thread that costs nothing meanwhile."""
        self._thread = threading.Thread(target=self._run, name="backstay-watchdog", daemon=True)
        self._thread.start()
        return self

    def arm(self, seconds: float) -> None:
        """Give the process `seconds` to end; callable from a signal handler, once."""
        self._seconds = seconds
        self._armed.set()

    def stop(self) -> None:
        """Call it off and end the thread."""
        self._disarmed.set()
        self._armed.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        self._armed.wait()
        if self._disarmed.wait(self._seconds + MARGIN_S):
            return
        try:
            why = (
                f"backstay: the process did not end within its grace ({self._seconds:g} s) and is "
                f"ended now; the main thread is at {_place_of_main_thread()}"
            )
            lines = [why, *(f"backstay: left over: {line}" for line in self._describe())]
            os.write(2, ("\n".join(lines) + "\n").encode(errors="replace"))
            if shutdown_overrun:
                shutdown_overrun.emit(ShutdownOverrun(why.removeprefix("backstay: "), last=True))
        finally:
            try:
                self._last_act()
            finally:
                self._leave(self.code)


def _place_of_main_thread() -> str:
    ident = threading.main_thread().ident
    frame = sys._current_frames().get(ident) if ident is not None else None
    if frame is None:
        return "its end"
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}"
