"""Look at all objects of the process in a forked child, while the process goes on.

What takes seconds stops nobody there: the process pauses for the fork alone, 2 to 15 ms.
The price is that only the forking thread lives in the child, whatever locks the others
held. So the child does plain work on objects, has a hard deadline, asks nothing of the loop,
and ends without clean-up.
"""

from __future__ import annotations

import gc
import marshal
import os
import select
import signal
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from backstay._base import now
from backstay.observe.profile._asked import Refused

__all__ = ["in_child"]

# What a child may take beyond what it was born with, at least: 20 million objects are counted in that.
_OWN_BYTES = 1 << 30


def in_child(work: Callable[[], Any], deadline_s: float) -> tuple[Any, float]:
    """Run `work` in a forked child and return its result, and the seconds that the fork took.

    Args:
        work: returns numbers, strings, tuples and lists; runs with the objects as they are now.
        deadline_s: the child is killed after so many seconds.

    Raises:
        Refused: 503 where nothing can be forked, when it was not done in time, or it failed.
    """
    if not hasattr(os, "fork"):
        raise Refused(503, "this system cannot fork: a census would stop the application")
    reader, writer = os.pipe()
    began = now()
    try:
        with warnings.catch_warnings():
            # Since 3.12 it warns of the locks of other threads; the deadline is the answer to that.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
    except OSError as error:
        os.close(reader)
        os.close(writer)
        raise Refused(503, f"the process could not be forked: {error.strerror}") from error
    if pid == 0:
        _be_child(work, writer, deadline_s)
    paused = now() - began
    os.close(writer)
    try:
        data = _read(reader, began + deadline_s)
    finally:
        os.close(reader)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # it has said what it had to say, or is too late
        with suppress(ChildProcessError):  # the program waits for all children itself
            os.waitpid(pid, 0)
    if data is None:
        raise Refused(503, f"the census was not done within {deadline_s:g} s and was stopped")
    try:
        return marshal.loads(data), paused  # noqa: S302 - our own child wrote it
    except (EOFError, ValueError, TypeError) as error:
        raise Refused(503, "the child that took the census has failed") from error


def _be_child(work: Callable[[], Any], writer: int, deadline_s: float) -> NoReturn:
    try:
        signal.set_wakeup_fd(-1)  # it is the parent's loop that would be woken
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM, signal.SIGPROF):
            signal.signal(number, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, deadline_s)  # also when the parent is gone
        _bound_memory()
        gc.disable()
        data = marshal.dumps(work())
        while data:
            data = data[os.write(writer, data) :]
    finally:
        os._exit(0)


def _bound_memory() -> None:
    """See that it is the child that ends when memory runs out, and that it takes not too much."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        with open("/proc/self/statm", "rb") as file:
            size = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (size + max(size, _OWN_BYTES), most))
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")


def _read(reader: int, until: float) -> bytes | None:
    """Return all that the child writes; None when it is not done in time."""
    chunks: list[bytes] = []
    poll = select.poll()  # not select(): the number of the descriptor may be beyond 1,024
    poll.register(reader, select.POLLIN | select.POLLHUP)
    while True:
        left = until - now()
        if left <= 0 or not poll.poll(left * 1000):
            return None
        chunk = os.read(reader, 65_536)
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
