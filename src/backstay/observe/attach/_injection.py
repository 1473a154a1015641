"""Have a foreign process run a text as Python, without leaving it half-way at any moment.

Three steps, each of which stops one thread for well under a millisecond:

1. the thread maps some scratch memory (one system call, from the code at `_start`);
2. it is sent into a stub there (see `_stub`): where it waits without the interpreter's lock, it runs the text
   at once, otherwise it only asks the interpreter to run it soon (`Py_AddPendingCall`);
3. when the text has run, the thread gives the memory back, and `_start` gets its bytes back.

After each step the thread goes on by itself, so killing the injector at any time harms nothing but those few
kilobytes. When time runs out, the text is emptied first: what still waits to be run does nothing then.
"""

from __future__ import annotations

import errno
import os
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backstay._base import now
from backstay.errors import TargetGone, UsageError
from backstay.observe.attach._process import Python, free_place, may_trace
from backstay.observe.attach._ptrace import Stopped, TraceError
from backstay.observe.attach._stub import (
    CODE_AT,
    GIL_FREE_CALLS,
    HANDLER_ROOM,
    MAP_STUB,
    MOST_PAYLOAD,
    RESTART,
    SCRATCH_SIZE,
    STATUS_HELD,
    STATUS_NOT_READY,
    STATUS_RAN,
    TEXT_AT,
    Detour,
    Frame,
    Mode,
    back_frame,
    call_before,
    call_of,
    run_stub,
    scratch_header,
    syscall_frame,
)

__all__ = ["Injection", "Outcome"]

_MMAP, _MUNMAP = 9, 11
_PROT_ALL = 7
_MAP_FLAGS = 0x02 | 0x20 | 0x100000  # private, anonymous, at this place or not at all
_STOP_PATIENCE_S = 0.5
_STEP_PATIENCE_S = 2.0
_PAGE = 4096
_NUDGE_AFTER_S = 1e-3


@dataclass(slots=True)
class Outcome:
    """How an injection went.

    Attributes:
        way: "lock" when the thread took the interpreter's lock, "pending" when the interpreter was asked.
        stops_s: how long the thread stood still, each time, seconds.
        left_bytes: scratch memory that had to be left mapped.
    """

    way: str = ""
    stops_s: list[float] = field(default_factory=list[float])
    left_bytes: int = 0


class Injection:
    """One text for one process."""

    def __init__(self, target: Python, text: str) -> None:
        """Prepare; nothing is touched before `run`.

        Args:
            target: what `examine` has found.
            text: the program, run by `PyRun_SimpleString` in `__main__`; plain ASCII, no NUL.

        Raises:
            ValueError: the text is too long.
        """
        self._target = target
        self._text = text.encode("ascii")
        if len(self._text) > MOST_PAYLOAD or b"\0" in self._text:
            raise ValueError(
                f"the text has {len(self._text)} bytes: at most {MOST_PAYLOAD}, no NUL"
            )
        self._tid = target.pid
        self._base = 0
        self._left: Detour | None = None  # where the thread was sent last
        self._queued = False  # the interpreter holds the address of the text
        self._may_wait = True  # nobody has made the main thread look at the queue yet
        self.outcome = Outcome()

    def run(self, answered: Callable[[], bool], *, patience: float) -> Outcome:
        """Have the text run and wait until `answered` says that it has.

        Raises:
            UsageError: the process cannot be entered; it is as it was.
            TargetGone: it has ended, or has not run the text within `patience` seconds; then it never will.
        """
        try:
            return self._run(answered, now() + patience, patience)
        except OSError as error:
            raise TargetGone(
                f"process {self._target.pid} has ended meanwhile ({error.strerror})"
            ) from error
        except TraceError as error:
            if error.code == errno.ESRCH:
                raise TargetGone(f"process {self._target.pid} has ended meanwhile") from error
            raise UsageError(may_trace(self._target.pid, error.code, str(error))) from error

    def _run(self, answered: Callable[[], bool], until: float, patience: float) -> Outcome:
        with open(f"/proc/{self._target.pid}/mem", "r+b", buffering=0) as memory:
            self._memory = memory
            self._tid = self._choose_thread()
            self._map()
            self._write(self._base + TEXT_AT, self._text + b"\0")
            try:
                self._send_in(until)
                if not self._wait(answered, until):
                    raise TargetGone(self._too_late(patience))
            finally:
                self._clean_up(answered)
        return self.outcome

    def _choose_thread(self) -> int:
        """Take the main thread, unless it sits where only another one can do it."""
        pid = self._target.pid
        if self._system_call_of(pid) in (None, *GIL_FREE_CALLS):
            return pid
        others = [int(name) for name in os.listdir(f"/proc/{pid}/task") if int(name) != pid]
        return next(
            (tid for tid in others[:200] if self._system_call_of(tid) in GIL_FREE_CALLS), pid
        )

    # -- the steps -------------------------------------------------------------

    def _map(self) -> None:
        self._base = free_place(self._target.pid)
        self._system_call(_MMAP, self._base, SCRATCH_SIZE, _PROT_ALL, _MAP_FLAGS, 2**64 - 1, 0)
        if not self._is_mapped():
            self._base = 0
            raise UsageError(
                f"process {self._target.pid} may not have memory that is both written and run (SELinux, seccomp?)"
            )

    def _send_in(self, until: float) -> None:
        """Send the thread into the stub, by the way that its place allows."""
        self.outcome.way = "lock"
        if self._enter("lock", until) in (0, STATUS_HELD):
            self.outcome.way = "pending"
            self._enter("ask", until)
            self._queued = self._status() == (STATUS_RAN, 0)

    def _enter(self, mode: Mode, until: float) -> int:
        """Send the thread into the stub, and return what it says; 0 where the mode does not fit its place."""
        with self._stopped() as thread:
            registers = thread.registers()
            if (
                mode != "ask"
                and self._real(call_of(registers), registers.rip) not in GIL_FREE_CALLS
            ):
                return 0
            frame = back_frame(registers)
            self._left = Detour(self._base, SCRATCH_SIZE, frame)
            self._lay_out(frame)
            self._write(self._base, scratch_header(frame.address))
            self._write(self._base + CODE_AT, run_stub(self._base, self._target.functions, mode))
            self._redirect(thread, registers, self._base + CODE_AT, frame.address)
        return self._status_by(until)

    def _status_by(self, until: float) -> int:
        """Wait until the stub has decided, and return what it says."""
        while (status := self._status()[0]) < STATUS_HELD and now() < until:
            time.sleep(100e-6)
        if status == STATUS_NOT_READY:
            raise UsageError(
                f"the Python of process {self._target.pid} is not running (yet, or any more)"
            )
        return status

    def _wait(self, answered: Callable[[], bool], until: float) -> bool:
        pause = 100e-6
        while not answered():
            if now() > until:
                return False
            status, result = self._status()
            if status == STATUS_RAN and result:
                what = (
                    "its queue for calls is full"
                    if self.outcome.way == "pending"
                    else "the text has failed"
                )
                raise UsageError(f"process {self._target.pid} did not run it: {what}")
            time.sleep(pause)
            pause = min(pause * 1.2, 5e-3)
            if self.outcome.way == "pending" and self._may_wait and pause > _NUDGE_AFTER_S:
                self._nudge(until)
        return True

    def _nudge(self, until: float) -> None:
        """The main thread was about to wait when it was asked, and waits now: let it see to the request."""
        pid = self._target.pid
        if self._tid != pid or self._system_call_of(pid) not in GIL_FREE_CALLS:
            return
        if self._enter("drain", until) == STATUS_RAN:
            self._queued = self._may_wait = False

    def _clean_up(self, answered: Callable[[], bool]) -> None:
        """Give the scratch memory back, if nobody can still be on the way into it."""
        with suppress(OSError):
            if not answered():
                self._write(self._base + TEXT_AT, b"\0")  # what is still to be run is now empty
        try:
            until = now() + _STEP_PATIENCE_S
            while self._status()[0] < STATUS_HELD and now() < until:
                time.sleep(200e-6)
            if self._status()[0] >= STATUS_HELD and (not self._queued or answered()):
                self._system_call(_MUNMAP, self._base, SCRATCH_SIZE)
        except (TraceError, OSError):
            pass  # it has ended meanwhile, or does not stop: see below
        if self._is_mapped():
            self.outcome.left_bytes = SCRATCH_SIZE

    # -- stopping --------------------------------------------------------------

    def _system_call(self, number: int, *arguments: int) -> None:
        """Have the thread make one system call, and put the borrowed bytes of `_start` back."""
        entry = self._target.entry
        saved = self._read(entry, len(MAP_STUB))
        with self._stopped() as thread:
            registers = thread.registers()
            frame = syscall_frame(registers)
            self._left = Detour(entry, len(MAP_STUB), frame)
            thread.write_code(entry, MAP_STUB)
            self._lay_out(frame)
            registers.rax = number
            for name, value in zip(
                ("rdi", "rsi", "rdx", "r10", "r8", "r9"), arguments, strict=False
            ):
                setattr(registers, name, value)
            self._redirect(thread, registers, entry, frame.address)
        with self._stopped() as thread:
            thread.write_code(entry, saved)

    def _stopped(self) -> _Visit:
        return _Visit(self._tid, self._left, self._memory.fileno(), self.outcome.stops_s)

    def _lay_out(self, frame: Frame) -> None:
        """Write what the thread is to find on its stack, and wipe what earlier signals have left below that."""
        with suppress(OSError):  # it may not have grown so far
            for at in range(frame.address - _PAGE, frame.address - HANDLER_ROOM - 1, -_PAGE):
                self._write(at, bytes(_PAGE))
        self._write(frame.address, frame.data)

    def _redirect(self, thread: Stopped, registers: Any, to: int, stack: int) -> None:
        registers.rip, registers.rsp = to, stack
        registers.orig_rax = 2**64 - 1  # no system call: the kernel is to restart nothing
        thread.set_registers(registers)

    # -- memory ----------------------------------------------------------------

    def _read(self, address: int, size: int) -> bytes:
        return os.pread(self._memory.fileno(), size, address)

    def _write(self, address: int, data: bytes) -> None:
        if os.pwrite(self._memory.fileno(), data, address) != len(data):
            raise OSError(f"only a part of {len(data)} bytes was written at {address:#x}")

    def _system_call_of(self, tid: int) -> int | None:
        """Return the number of the system call that a thread sits in; None while it runs."""
        path = Path(f"/proc/{self._target.pid}/task/{tid}/syscall")
        with suppress(OSError, ValueError):
            words = path.read_text("ascii").split()
            return self._real(int(words[0]), int(words[-1], 16))
        return None

    def _real(self, call: int | None, rip: int) -> int | None:
        if call != RESTART:
            return call
        try:
            return call_before(self._read(rip - 7, 7)) or call
        except OSError:
            return call

    def _status(self) -> tuple[int, int]:
        status, result = struct.unpack("<Ii", self._read(self._base, 8))
        return status, result

    def _is_mapped(self) -> bool:
        try:
            return bool(self._base) and bool(self._read(self._base, 1))
        except OSError:
            return False

    def _too_late(self, patience: float) -> str:
        call = self._system_call_of(self._target.pid)
        where = (
            f"its main thread sits in system call {call}"
            if call
            else "a C function keeps the interpreter's lock"
        )
        return (
            f"process {self._target.pid} did not come round within {patience:g} s ({where}); the request is "
            f"withdrawn and nothing was changed: look with 'py-spy dump', or wait longer with --wait"
        )


class _Visit:
    """A stop at a moment at which the thread has left a piece of code, in a signal handler's frame, too."""

    def __init__(self, tid: int, left: Detour | None, memory: int, stops: list[float]) -> None:
        self._tid = tid
        self._left = left
        self._memory = memory
        self._stops = stops
        self._thread: Stopped | None = None

    def __enter__(self) -> Stopped:
        until = now() + _STEP_PATIENCE_S
        while True:
            thread = Stopped(self._tid, patience=_STOP_PATIENCE_S).__enter__()
            self._thread = thread
            try:
                inside = self._left is not None and self._is_inside(self._left, thread.registers())
            except BaseException:
                self.__exit__()
                raise
            if not inside:
                return thread
            self.__exit__()
            if now() > until:
                raise TraceError("it does not get on: is it starved of processor time?")
            time.sleep(200e-6)

    def __exit__(self, *_: object) -> None:
        assert self._thread is not None
        self._thread.__exit__()
        self._stops.append(self._thread.stopped_s)

    def _is_inside(self, left: Detour, registers: Any) -> bool:
        if left.covers(registers.rip):
            return True
        begin, end = left.where_a_handler_returns(registers.rsp)
        if end <= begin:
            return False
        try:
            data = os.pread(self._memory, end - begin, begin)
        except OSError:
            return True  # not to be read: then nothing is known
        return any(map(left.covers, memoryview(data[: len(data) // 8 * 8]).cast("Q")))
