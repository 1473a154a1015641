"""Have something done in the main thread, where alone signal handlers may be set.

First through a loop that runs there, which is the gentle way: between two of its
callbacks. A loop that is blocked does not come round, and just then a profile is
wanted most; so after a moment the interpreter itself is asked, which runs the call
between two bytecodes of whatever the main thread is at. A main thread that sits in
a system call or in C code runs neither; then the caller is told.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any

from backstay.tasks import installed_loops

__all__ = ["in_main_thread"]

# Seconds that a loop gets to come round before the interpreter is asked.
_GENTLE_S = 0.1
# Seconds in all. A main thread that does not come round in that time is in C code.
_PATIENCE_S = 2.0


class _Call:
    """One thing to do, once, by whoever comes first in the main thread."""

    def __init__(self, action: Callable[[], None], *, keep: bool) -> None:
        self._action = action
        self._keep = keep
        self._guard = threading.Lock()
        self._begun = False
        self._done = threading.Event()
        self._error: BaseException | None = None

    def here(self) -> None:
        """Do it, if this is the main thread and it was not done yet."""
        if threading.current_thread() is not threading.main_thread():
            return
        if not self._begin():
            return
        try:
            self._action()
        except BaseException as error:  # whoever waits for it is told, and not the main thread
            self._error = error
        finally:
            self._done.set()

    def _begin(self) -> bool:
        # Without waiting: the interpreter may call us amid a call of the loop, in one thread.
        if self._begun or not self._guard.acquire(blocking=False):
            return False
        self._begun = True
        return True

    def wait(self, seconds: float) -> bool:
        """Return whether it was done in that time; raise what it raised."""
        if not self._done.wait(seconds):
            return False
        if self._error is not None:
            raise self._error
        return True

    def withdraw(self) -> bool:
        """Let it not be done any more, unless it is to be kept; return False when it has begun."""
        return self._keep or self._begin()


def in_main_thread(action: Callable[[], None], *, keep: bool = False) -> bool:
    """Run `action` in the main thread and wait for it; callable from any thread.

    Args:
        action: short; it may run between any two bytecodes of the main thread, so it takes no
            lock that code there may hold.
        keep: whether it is still to be done later when it could not be done in time.

    Returns:
        Whether it was done. False: the main thread did not come round within two seconds.

    Raises:
        Exception: what the action raised.
    """
    if threading.current_thread() is threading.main_thread():
        action()
        return True
    call = _Call(action, keep=keep)
    for loop in installed_loops():
        with suppress(RuntimeError):  # closed since we looked
            loop.call_soon_threadsafe(call.here)
    if call.wait(_GENTLE_S):
        return True
    _interrupt(call)
    return call.wait(_PATIENCE_S) or (not call.withdraw() and call.wait(_PATIENCE_S))


_interruptions: deque[_Call] = deque()


def _interrupt(call: _Call) -> None:
    """Ask the interpreter to run the call in the main thread between two bytecodes."""
    _interruptions.append(call)
    with suppress(Exception):  # an interpreter without ctypes, or another one than CPython
        add, entry = _door()
        add(entry, None)


@lru_cache(maxsize=1)
def _door() -> tuple[Any, Any]:
    import ctypes

    # Kept for good: the interpreter may hold its address after we have given up waiting.
    entry = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(_run_interruptions)
    return ctypes.pythonapi.Py_AddPendingCall, entry


def _run_interruptions(_: Any) -> int:
    while _interruptions:
        _interruptions.popleft().here()
    return 0
