"""The two things that can be asked of a process that is not prepared, by injection."""

from __future__ import annotations

import gc
import socket
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from backstay.errors import UsageError
from backstay.observe.attach._injection import Injection
from backstay.observe.attach._process import examine
from backstay.observe.attach._reply import ReplyFile

__all__ = ["Call", "inject", "load_call", "load_into", "look_at", "look_call", "program"]

_HOME = Path(__file__).resolve().parents[2]


Call = Callable[[str], str]


def look_call(reply: str) -> str:
    """Return the call that looks at the tasks and leaves the answer at `reply`."""
    return f"answer({reply!r}, look)"


def look_at(pid: int, *, patience: float = 10.0) -> dict[str, Any]:
    """Return the tasks of a process that was not prepared, by injection.

    Args:
        pid: a process that runs CPython 3.11 to 3.13 on Linux on x86-64.
        patience: seconds that it may take to come round.

    Returns:
        `tasks`, `list` (each with name, coroutine, stack, what it waits for and on whom), and `injection`:
        the `way`, how often and how long a thread was stopped, and what had to be left behind.

    Raises:
        UsageError: it cannot be entered safely; nothing was changed.
        TargetGone: it has ended, or did not come round in time; the request was withdrawn.

    Cost:
        six to eight stops of one thread; ``benchmarks/attach.py``.
    """
    return inject(pid, look_call, patience)


def load_into(
    pid: int, *, patience: float = 10.0, options: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Load Backstay into a running process and open its admin plane, by injection.

    Args:
        pid: a process that runs CPython 3.11 to 3.13 on Linux on x86-64.
        patience: seconds that it may take.
        options: of `AdminServer`; plain values.

    Returns:
        `address` of the admin plane, `loops` found and `tracked`, where `backstay` was found, and `injection`.

    Raises:
        UsageError: it cannot be entered safely, or cannot import Backstay; nothing was changed.
        TargetGone: it has ended, or did not come round in time; the request was withdrawn.
    """
    return inject(pid, load_call(options or {}), patience)


def load_call(options: Mapping[str, Any]) -> Call:
    """Return what makes the call that loads Backstay."""
    return lambda reply: f"late({str(_HOME)!r}, {dict(options)!r}, {reply!r})"


def inject(pid: int, call: Call, patience: float) -> dict[str, Any]:
    """Have a call made in the process and return its answer.

    Args:
        pid: the process.
        call: makes the call, given the path where the answer goes.
        patience: seconds that it may take.
    """
    target = examine(pid)
    target.check_injectable()
    with _alone(pid), ReplyFile(pid) as reply, _no_collections():
        injection = Injection(target, program(call(reply.path)))
        outcome = injection.run(reply.complete, patience=patience)
        answer = reply.read()
    answer["injection"] = {
        "way": outcome.way,
        "stops": len(outcome.stops_s),
        "longest_stop_s": round(max(outcome.stops_s), 6),
        "stopped_s": round(sum(outcome.stops_s), 6),
        "left_bytes": outcome.left_bytes,
    }
    return answer


def program(call: str) -> str:
    """Return the text to be run: one expression that leaves no name behind in `__main__`."""
    source = f"{_source()}\n{call}\n"
    return (
        f"(lambda b: b.exec(b.compile({source!a}, '<backstay>', 'exec', dont_inherit=True), "
        f"{{'__name__': '__backstay__', '__builtins__': b}}))(__import__('builtins'))\n"
    )


@lru_cache(maxsize=1)
def _source() -> str:
    return Path(__file__).with_name("_inside.py").read_text("utf-8")


@contextmanager
def _alone(pid: int) -> Generator[None]:
    """Enter a process only while nobody else of us does: both would borrow the same bytes of it.

    A name in the abstract namespace of unix sockets, since the kernel frees it however its owner ends.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mark:
        try:
            mark.bind(f"\0backstay-attach-{pid}")
        except OSError as error:
            raise UsageError(
                f"somebody else is entering process {pid} right now: try again"
            ) from error
        yield


@contextmanager
def _no_collections() -> Generator[None]:
    """Collect no garbage of ours while a foreign thread stands still."""
    was = gc.isenabled()
    gc.disable()
    # Our own threads, where there are any, must not have us wait for the lock for 5 ms either.
    interval = sys.getswitchinterval()
    sys.setswitchinterval(min(interval, 1e-3))
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        if was:
            gc.enable()
