"""Activities for Chaos Toolkit: what a Backstay process says of itself, what signals do to it, and `activity`.

Needs nothing of the toolkit. Tested with chaostoolkit-lib 1.44.

    {"type": "probe", "name": "nothing leaks", "tolerance": true,
     "provider": {"type": "python", "module": "backstay.integrations.chaostoolkit", "func": "no_leaks",
                  "arguments": {"target": "4711"}}}

Chaos Toolkit calls plain functions. An ``async def`` it calls too, never awaits, and reports as succeeded; so
everything here is plain, and `activity` makes a plain function of yours that is not.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from backstay.errors import UsageError
from backstay.observe.admin import AdminClient
from backstay.tasks import timeout as within

__all__ = [
    "activity",
    "answers",
    "hang",
    "kill",
    "loop_lag",
    "no_leaks",
    "ready",
    "resume",
    "stop",
    "tasks_alive",
]

#: Seconds between two proofs: the target wants one at least, and tells what both have found.
_CONFIRM_S = 1.2

P = ParamSpec("P")
T = TypeVar("T")


def activity(*, timeout: float) -> Callable[[Callable[P, Coroutine[Any, Any, T]]], Callable[P, T]]:
    """Make a plain function of a coroutine function, for whoever calls without awaiting.

    ::

        @activity(timeout=3.0)
        async def orders_flow(url: str) -> bool:
            ...

    Args:
        timeout: seconds that a call may take.

    Returns:
        A decorator. The function that it makes runs the coroutine to its end in a loop and a thread of its own, so
        that it may also be called where a loop runs, and blocks meanwhile.

    Raises:
        DeadlineExceeded: by the function: it took longer.
    """

    def decorate(fn: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
        @functools.wraps(fn)
        def plain(*args: P.args, **kwargs: P.kwargs) -> T:
            async def bounded() -> T:
                async with within(timeout, name=fn.__name__):
                    return await fn(*args, **kwargs)

            return _in_a_thread(lambda: asyncio.run(bounded()), fn.__name__)

        # What `inspect` is told of the wrapped one would make the toolkit take this for a coroutine function.
        del plain.__wrapped__  # pyright: ignore[reportFunctionMemberAccess]
        return plain

    return decorate


def _in_a_thread(work: Callable[[], T], name: str) -> T:
    found: list[T] = []
    failed: list[BaseException] = []
    context = contextvars.copy_context()

    def run() -> None:
        try:
            found.append(context.run(work))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name=f"activity {name}")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]


# -- probes ------------------------------------------------------------------------


def answers(url: str, *, status: int = 200, timeout: float = 3.0) -> bool:
    """Tell whether a GET is answered in time, and with this status.

    Args:
        url: http or https.
        status: that is expected.
        timeout: seconds.

    Raises:
        UsageError: not an HTTP URL.
    """
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"url {url!r}: expected one that begins with http:// or https://")
    try:
        with urllib.request.urlopen(url, timeout=timeout) as reply:  # noqa: S310 - looked at above
            return bool(reply.status == status)
    except urllib.error.HTTPError as error:
        return error.code == status
    except OSError:
        return False


def ready(target: str) -> bool:
    """Tell whether the process wants traffic.

    Args:
        target: its pid, or the socket or URL of its admin plane.

    Raises:
        TargetGone: nobody answers there: the activity has failed.
    """
    return bool(AdminClient(target).get("/v1/statistics")["ready"])


def tasks_alive(target: str) -> int:
    """Return how many tasks are alive in the process.

    Args:
        target: its pid, or the socket or URL of its admin plane.

    Raises:
        TargetGone: nobody answers there.
    """
    return int(AdminClient(target).get("/v1/statistics")["tasks"])


def loop_lag(target: str) -> float:
    """Return the seconds by which its slowest loop is late, or has been late so far.

    Args:
        target: its pid, or the socket or URL of its admin plane.

    Raises:
        TargetGone: nobody answers there.
    """
    return float(AdminClient(target).get("/v1/statistics")["loop_lag_s"])


def no_leaks(target: str, *, prove: bool = False) -> bool:
    """Tell whether no task of the process is accused of leaking.

    Args:
        target: its pid, or the socket or URL of its admin plane.
        prove: also prove, twice within two seconds, which tasks nothing can wake any more; each time
            stops the process for some milliseconds.

    Raises:
        TargetGone: nobody answers there.
    """
    client = AdminClient(target, timeout=30.0)
    if not prove:
        return not client.get("/v1/leaks")["findings"]
    client.get("/v1/leaks?prove=1")
    time.sleep(_CONFIRM_S)
    return not client.get("/v1/leaks?prove=1")["findings"]


# -- actions -----------------------------------------------------------------------


def stop(pid: int) -> None:
    """Ask a process to end in order: SIGTERM."""
    _send(pid, signal.SIGTERM)


def kill(pid: int) -> None:
    """End a process on the spot: SIGKILL."""
    _send(pid, signal.SIGKILL)


def hang(pid: int, *, seconds: float) -> None:
    """Let a process stand still for a while: SIGSTOP, and SIGCONT also when this is interrupted.

    Args:
        pid: of the process.
        seconds: how long.
    """
    _send(pid, signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        resume(pid)


def resume(pid: int) -> None:
    """Let it go on: SIGCONT; a rollback for `hang`, harmless otherwise."""
    _send(pid, signal.SIGCONT)


def _send(pid: int, number: signal.Signals) -> None:
    # Configuration of an experiment comes as text; 0 and -1 would hit whole groups of processes.
    try:
        whom = int(pid)
    except ValueError:
        whom = 0
    if whom <= 1:
        raise UsageError(f"pid {pid!r}: expected the number of one process")
    try:
        os.kill(whom, number)
    except ProcessLookupError:
        raise UsageError(f"pid {whom}: there is no such process") from None
    except PermissionError:
        raise UsageError(f"pid {whom}: it belongs to somebody else") from None
