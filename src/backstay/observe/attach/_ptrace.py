"""Stops one thread of a foreign process, changes its registers and lets it go: `ptrace(2)` by ctypes.

`PTRACE_SEIZE` and `PTRACE_INTERRUPT` (Linux 3.4) stop a thread without sending it a signal. When the
tracer dies, whatever way, the kernel lets the thread run on from the registers it has at that moment.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import time
from functools import lru_cache
from typing import Any, Final

from backstay._base import now

__all__ = ["Registers", "Stopped", "TraceError"]

_POKE_TEXT, _GET_REGS, _SET_REGS, _DETACH, _CONT = 4, 12, 13, 17, 7
_SEIZE, _INTERRUPT = 0x4206, 0x4207
_EVENT_STOP = 128
_WALL = 0x40000000
_NAMES: Final = (
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi",
    "rdi", "orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs",
)  # fmt: skip


class TraceError(Exception):
    """The thread could not be stopped or changed; it runs on as it was."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class Registers(ctypes.Structure):
    """`struct user_regs_struct` of x86-64."""

    _fields_ = [(name, ctypes.c_uint64) for name in _NAMES]

    def __getattr__(self, name: str) -> int:  # for type checkers; ctypes has descriptors for all
        raise AttributeError(name)


class Stopped:
    """One thread, stopped while the block lasts.

    ::

        with Stopped(tid, patience=1.0) as thread:
            registers = thread.registers()

    Leaving the block lets the thread run on, with the registers that it then has.
    """

    def __init__(self, tid: int, *, patience: float) -> None:
        """Name the thread.

        Args:
            tid: the thread.
            patience: seconds that it may take to stop.
        """
        self.tid = tid
        self._patience = patience
        self.stopped_s = 0.0  # how long it stood still
        self._since = 0.0

    def __enter__(self) -> Stopped:
        """Stop the thread.

        Raises:
            TraceError: it may not be traced, has ended, or does not stop.
        """
        _call(_SEIZE, self.tid)
        try:
            self._since = now()
            _call(_INTERRUPT, self.tid)
            self._wait(now() + self._patience)
        except BaseException:
            self._let_go()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Let it run on."""
        self._let_go()
        self.stopped_s = now() - self._since

    def registers(self) -> Registers:
        """Return a copy of its registers."""
        found = Registers()
        _call(_GET_REGS, self.tid, data=ctypes.addressof(found))
        return found

    def set_registers(self, registers: Registers) -> None:
        """Give it others."""
        _call(_SET_REGS, self.tid, data=ctypes.addressof(registers))

    def write_code(self, address: int, code: bytes) -> None:
        """Write to its program text; a multiple of 8 bytes."""
        for at in range(0, len(code), 8):
            word = int.from_bytes(code[at : at + 8], "little")
            _call(_POKE_TEXT, self.tid, address + at, word)

    def _wait(self, until: float) -> None:
        """Wait for the stop; what else the thread meets meanwhile, such as signals, is passed on."""
        pause = 20e-6
        while True:
            try:
                pid, status = os.waitpid(self.tid, os.WNOHANG | _WALL)
            except ChildProcessError as error:
                raise TraceError("the process has ended", errno.ESRCH) from error
            if pid == 0:
                if now() > until:
                    raise TraceError("it does not stop: is it in uninterruptible sleep (state D)?")
                time.sleep(pause)
                pause = min(pause * 1.5, 1e-3)
                continue
            if not os.WIFSTOPPED(status):
                raise TraceError("the process has ended", errno.ESRCH)
            event, sign = status >> 16, os.WSTOPSIG(status)
            if event == _EVENT_STOP:
                if sign != signal.SIGTRAP:
                    raise TraceError(
                        f"it is stopped by {signal.Signals(sign).name}: continue it first"
                    )
                return
            _call(_CONT, self.tid, data=sign if not event else 0)
            _call(_INTERRUPT, self.tid)

    def _let_go(self) -> None:
        try:
            _call(_DETACH, self.tid)
        except TraceError:
            pass  # it has ended, or never stopped: then the kernel lets go of it when we end


def _call(request: int, tid: int, address: int = 0, data: int = 0) -> None:
    libc = _libc()
    ctypes.set_errno(0)
    if libc.ptrace(request, tid, ctypes.c_void_p(address), ctypes.c_void_p(data)) == -1:
        code = ctypes.get_errno()
        raise TraceError(os.strerror(code), code)


@lru_cache(maxsize=1)
def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.restype = ctypes.c_long
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    return libc
