"""The CPU profile: where the processor's time goes, by stack, task, owner and trace.

Why a signal and not a thread that looks: a loop lets go of the interpreter's
lock each time it polls, so a sampling thread gets to look nearly always then, and
finds the loop idle (98 to 100 % of samples on 3.11 and 3.12, whatever the program does). The kernel's
profiling timer counts used processor time, and its signal interrupts the main
thread at the next bytecode, wherever that is.

The timer is the process's only one of its kind, and so is the handler. Both are
taken for the time of one profile and given back as they were; when somebody
else has them, nothing is taken.

The signal wakes nobody: while the main thread sleeps and another one works, it is noticed when the main
thread goes on. So the handler counts the main thread's time only, and that of the other threads is read off
their own clocks by the thread that makes the profile, 20 times a second.
"""

from __future__ import annotations

import asyncio
import atexit
import signal
import sys
import threading
import time
from types import CodeType, FrameType
from typing import Any

from backstay._base import StillFrames, now, wall
from backstay.observe.profile._asked import Refused, Wait
from backstay.observe.profile._labels import labels_here
from backstay.observe.profile._main_thread import in_main_thread
from backstay.observe.profile._profile import (
    Frame,
    Key,
    Profile,
    Stack,
    Table,
    add,
    gathered,
)

__all__ = ["CPU_KINDS", "CpuSampler", "cpu_profile", "stack_of"]

CPU_KINDS = (("samples", "count"), ("cpu", "nanoseconds"))

_HANDLE_RUN: CodeType = asyncio.Handle._run.__code__
_DEPTH = 128  # frames kept of a stack, the innermost
_MOST_STACKS = 50_000  # told apart in one profile; the rest is one sample
_REST: Key = ((Frame(f"more than {_MOST_STACKS:,} different stacks", "", 0),), ())
_NATIVE: Key = ((Frame("threads that Python does not know, or that have ended", "", 0),), ())
_OTHERS_EVERY_S = 0.05  # between two looks at the other threads
# Of a period that the main thread has used at least, for a signal to be about it.
_AT_WORK = 0.02
_UNSEEN = 0.02  # of all time; less than that is the cost of starting and stopping

# Seconds for a signal that is on its way to arrive before its handler is given back: the one that
# was there before may be the system's, which ends the process.
_ON_ITS_WAY_S = 0.02

_CONFLICT = "the profiling timer and its signal SIGPROF are in use"


def cpu_profile(seconds: float, rate: int, wait: Wait) -> Profile:
    """Sample the processor time of this process for some seconds.

    Args:
        seconds: how long.
        rate: samples for each second of used processor time.
        wait: how to wait; may be cut short.

    Returns:
        Samples and nanoseconds by stack and labels.

    Raises:
        Refused: the main thread cannot be reached, or somebody else has the signal.

    Cost: 35 to 50 microseconds a sample, so about half a percent at 100 a second; nothing while idle.
    """
    sampler = CpuSampler(rate)
    began = wall()
    sampler.start()
    try:
        until = now() + seconds
        while (left := until - now()) > 0 and not wait(min(left, _OTHERS_EVERY_S)):
            sampler.look_at_others()
    finally:
        sampler.stop()
    return Profile(
        CPU_KINDS,
        gathered(sampler.counted()),
        ("cpu", "nanoseconds"),
        round(1e9 / rate),
        taken_at=began,
        duration_s=wall() - began,
        comments=sampler.comments(),
        default="cpu",
    )


class CpuSampler:
    """Owns the profiling timer and the handler of its signal from `start` to `stop`."""

    def __init__(self, rate: int = 100) -> None:
        """Touch nothing yet."""
        self._rate = rate
        self._table: Table = {}  # of the main thread, written there
        self._others: Table = {}  # of the other threads, written by the one that looks
        self._inside = False
        self._failed = 0
        self._stopped = False
        self._before: Any = None
        self._main_ns = 0  # processor time of the main thread, at the last sample
        self._process_ns = 0  # that of the process at the start, and at the end what it used
        self._thread_ns: dict[int, int] = {}

    def start(self) -> None:
        """Install the handler and start the timer.

        Raises:
            Refused: 503 when the main thread cannot be reached, 409 when the signal is in use.
        """
        if not hasattr(signal, "setitimer"):
            raise Refused(503, "this system has no profiling timer: use kind wall")
        if not in_main_thread(self._install):
            raise Refused(
                503,
                "the main thread did not come round within 2 s: no loop that Backstay tracks runs there, "
                "or it is in a system call or in C code; /debug/pprof/block tells which line holds it",
            )

    def _install(self) -> None:
        holder = signal.getsignal(signal.SIGPROF)
        if holder not in (signal.SIG_DFL, signal.SIG_IGN):
            name = getattr(holder, "__qualname__", None) or type(holder).__name__
            by = "C code" if holder is None else name
            raise Refused(409, f"{_CONFLICT} by {by}: end the other profiler first")
        if signal.getitimer(signal.ITIMER_PROF) != (0.0, 0.0):
            raise Refused(409, f"{_CONFLICT}: the timer runs already; end the other profiler first")
        self._before = holder
        self._process_ns = time.process_time_ns()
        self._main_ns = time.thread_time_ns()
        self._spent_by_others()
        signal.signal(signal.SIGPROF, self._on_signal)
        # System calls of libraries that do not expect to be interrupted are begun again.
        signal.siginterrupt(signal.SIGPROF, False)
        atexit.register(_disarm)  # a timer that outlives the handler ends the process
        signal.setitimer(signal.ITIMER_PROF, 1 / self._rate, 1 / self._rate)

    def stop(self) -> None:
        """Stop the timer and give the handler back; harmless when repeated.

        A main thread that does not come round keeps a handler that does nothing, and gives
        it back as soon as it does.
        """
        if self._stopped:
            return
        self._stopped = True
        _disarm()
        self._process_ns = time.process_time_ns() - self._process_ns
        time.sleep(_ON_ITS_WAY_S)
        in_main_thread(self._restore, keep=True)

    def _restore(self) -> None:
        # Bound methods are made anew each time they are asked for, so they are compared by value.
        if signal.getsignal(signal.SIGPROF) == self._on_signal:
            signal.signal(signal.SIGPROF, self._before)
        atexit.unregister(_disarm)

    def counted(self) -> Table:
        """Return samples and nanoseconds by stack and labels, once it is stopped."""
        found = dict(self._table)
        for key, values in self._others.items():
            add(found, key, values)
        missing = self._process_ns - sum(values[1] for values in found.values())
        if missing > self._process_ns * _UNSEEN:
            add(found, _NATIVE, (0, missing))
        return found

    def comments(self) -> tuple[str, ...]:
        """Return what the reader should know."""
        return (f"{self._failed} samples failed",) if self._failed else ()

    # -- in the main thread, between two bytecodes of whatever it does -------------------

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._inside or self._stopped or frame is None:
            return
        self._inside = True
        try:
            self._sample(frame)
        except Exception:  # the interrupted code must not see anything of us
            self._failed += 1
        finally:
            self._inside = False

    def _sample(self, frame: FrameType) -> None:
        at = time.thread_time_ns()
        spent = at - self._main_ns
        if spent < _AT_WORK * 1e9 / self._rate:
            return  # it was another thread that used the time
        self._main_ns = at
        loop = asyncio._get_running_loop()
        task = None if loop is None else asyncio.current_task(loop)
        _count(self._table, (stack_of(frame, task), labels_here(task)), spent)

    # -- in the thread that makes the profile ----------------------------------------------

    def look_at_others(self) -> None:
        """Count the time of the threads that are neither the main one nor the caller."""
        try:
            with StillFrames():
                frames = sys._current_frames()
                for ident, spent in self._spent_by_others().items():
                    labels = (("thread", _thread_name(ident)),)
                    _count(self._others, (stack_of(frames.get(ident), None), labels), spent)
                del frames
        except Exception:
            self._failed += 1

    def _spent_by_others(self) -> dict[int, int]:
        """Return the nanoseconds that each other Python thread has used since the last call."""
        get_clock = getattr(time, "pthread_getcpuclockid", None)
        if get_clock is None:
            return {}
        apart = threading.main_thread().ident, threading.get_ident()
        found: dict[int, int] = {}
        known: dict[int, int] = {}
        # Those that have a frame are alive, and stay so while we hold the interpreter's lock.
        for ident in [one for one in sys._current_frames() if one not in apart]:
            try:
                total = time.clock_gettime_ns(get_clock(ident))
            except OSError:
                continue
            known[ident] = total
            used = total - self._thread_ns.get(ident, 0)
            if used > 0:
                found[ident] = used
        self._thread_ns = known
        return found


def _count(table: Table, key: Key, spent: int) -> None:
    if key not in table and len(table) >= _MOST_STACKS:
        key = _REST
    add(table, key, (1, spent))


def _thread_name(ident: int) -> str:
    # Not threading.enumerate(), whose lock the interrupted code may hold.
    known: dict[int, threading.Thread] = getattr(threading, "_active", {})
    thread = known.get(ident)
    return str(ident) if thread is None else thread.name


def _disarm() -> None:
    signal.setitimer(signal.ITIMER_PROF, 0)


def stack_of(frame: FrameType | None, task: asyncio.Task[Any] | None) -> Stack:
    """Return a running stack from `frame` down to the coroutine of the task, or to the loop.

    Args:
        frame: the innermost frame.
        task: the task that runs there, if any.
    """
    lowest = None if task is None else getattr(task.get_coro(), "cr_frame", None)
    steps: list[Frame] = []
    while frame is not None and frame.f_code is not _HANDLE_RUN:
        if len(steps) == _DEPTH:
            steps.append(Frame("… outer frames left out", "", 0))
            break
        code = frame.f_code
        steps.append(Frame(code.co_qualname, code.co_filename, _line(frame)))
        if frame is lowest:
            break
        frame = frame.f_back
    return tuple(steps)


def _line(frame: FrameType) -> int:
    line: int | None = frame.f_lineno
    return line or 0
