"""The few instructions that a foreign thread is made to run, as bytes; nothing here touches a process.

Each stub ends by restoring every register of the thread and going back to where it was, by itself:
the restored values lie on the thread's own stack, below the red zone, and `iretq` loads the last five of
them in one step. So once a thread has been sent into a stub, it needs nobody any more: whoever sent it
may be killed. To the program it is as if a signal handler had run.

Encodings from the Intel 64 manual, volume 2; the red zone of 128 bytes and the alignment of calls from
the System V AMD64 ABI; what a system call that was interrupted returns, from Linux `arch/x86/kernel/signal.c`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

__all__ = [
    "CODE_AT",
    "GIL_FREE_CALLS",
    "HANDLER_ROOM",
    "MAP_STUB",
    "MOST_PAYLOAD",
    "RESTART",
    "SCRATCH_SIZE",
    "STATUS_HELD",
    "STATUS_NOT_READY",
    "STATUS_RAN",
    "TEXT_AT",
    "Detour",
    "Frame",
    "Mode",
    "back_frame",
    "call_before",
    "call_of",
    "run_stub",
    "scratch_header",
    "syscall_frame",
]

#: Bytes of scratch memory: state, code, room for the vector registers, the text to run.
SCRATCH_SIZE: Final = 0x10000
CODE_AT: Final = 0x100
_VECTORS_AT: Final = 0x400  # 64-aligned; AMX needs 11,008 bytes, everything before it 2,696
TEXT_AT: Final = 0x3800
MOST_PAYLOAD: Final = SCRATCH_SIZE - TEXT_AT - 1

Mode = Literal["lock", "ask", "drain"]

STATUS_RAN: Final = 3
STATUS_HELD: Final = 2  # the thread has the interpreter's lock although it is in a system call
STATUS_NOT_READY: Final = 4  # the interpreter is not initialised

_RED_ZONE: Final = 128
#: Bytes that the kernel's frame for a handler takes at most: 11 KiB of AMX state, and some more.
HANDLER_ROOM: Final = 0x4000
_OTHER_STACK: Final = 0x800000
#: What the kernel calls a call that goes on after an interruption.
RESTART: Final = 219
#: poll, select, nanosleep, clock_nanosleep, epoll_wait, pselect6, ppoll, epoll_pwait, epoll_pwait2:
#: what an idle loop is found in. Python, uvloop and libuv give the interpreter's lock away around them.
GIL_FREE_CALLS: Final = frozenset({7, 23, 35, 230, 232, 270, 271, 281, 441})

#: Restored in this order by both stubs, those that a system call changes first.
_POPPED_BY_MAP: Final = ("r9", "r8", "r10", "rdx", "rsi", "rdi", "rax", "rcx", "r11")
_POPPED_BY_RUN: Final = (
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi",
)  # fmt: skip
_POPS: Final[Mapping[str, bytes]] = {
    "rax": b"\x58", "rcx": b"\x59", "rdx": b"\x5a", "rbx": b"\x5b", "rbp": b"\x5d", "rsi": b"\x5e", "rdi": b"\x5f",
    "r8": b"\x41\x58", "r9": b"\x41\x59", "r10": b"\x41\x5a", "r11": b"\x41\x5b", "r12": b"\x41\x5c",
    "r13": b"\x41\x5d", "r14": b"\x41\x5e", "r15": b"\x41\x5f",
}  # fmt: skip
_IRETQ: Final = b"\x48\xcf"
_SYSCALL: Final = b"\x0f\x05"

#: One system call, then back: 17 bytes, padded to whole words. It stands where the program began (`_start`),
#: which has run once and never runs again.
MAP_STUB: Final = (_SYSCALL + b"".join(_POPS[name] for name in _POPPED_BY_MAP) + _IRETQ).ljust(
    24, b"\x90"
)


@dataclass(frozen=True, slots=True)
class Frame:
    """What a thread finds on its stack when it leaves a stub.

    Attributes:
        address: where to write it; the stack pointer in the stub.
        data: the registers, in the order in which they are restored.
    """

    address: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Detour:
    """A piece of code that a thread was sent into, and the frame by which it leaves it.

    A signal may be delivered on the way. Then the thread is elsewhere, in the handler, and comes back: the
    address at which it will go on lies in the frame that the kernel has put on the stack for the handler.
    """

    code: int
    size: int
    frame: Frame

    def covers(self, address: int) -> bool:
        """Tell whether an address lies in the code."""
        return self.code <= address < self.code + self.size

    def where_a_handler_returns(self, stack: int) -> tuple[int, int]:
        """Return the part of memory that would tell, given the stack pointer; an empty one where none would."""
        end = self.frame.address + len(self.frame.data)
        if not end - _OTHER_STACK <= stack < end + _OTHER_STACK:
            return (
                stack,
                stack + HANDLER_ROOM,
            )  # handlers may have a stack of their own (sigaltstack)
        return max(stack, self.frame.address - HANDLER_ROOM), end


def call_of(registers: Any) -> int | None:
    """Return the number of the system call that a stopped thread is in; None in a program's own code."""
    call = _signed(registers.orig_rax)
    return None if call < 0 else call


def call_before(code: bytes) -> int | None:
    """Return the call that `code`, the seven bytes before the next instruction, has made: mov eax, N; syscall.

    A call that was interrupted and goes on is number 219 to the kernel, whatever it was.
    """
    if len(code) == 7 and code[:1] == b"\xb8" and code[5:] == _SYSCALL:
        return int.from_bytes(code[1:5], "little")
    return None


def syscall_frame(registers: Any) -> Frame:
    """Return the frame for `MAP_STUB`."""
    return _frame(registers, _POPPED_BY_MAP)


def back_frame(registers: Any) -> Frame:
    """Return the frame for `run_stub`."""
    return _frame(registers, _POPPED_BY_RUN)


def _frame(registers: Any, popped: tuple[str, ...]) -> Frame:
    rip, rax = _resumed(registers)
    values = {name: getattr(registers, name) for name in popped} | {"rax": rax & (2**64 - 1)}
    last = (rip, registers.cs, registers.eflags, registers.rsp, registers.ss)
    data = struct.pack(f"<{len(popped) + 5}Q", *(values[name] for name in popped), *last)
    address = (registers.rsp - _RED_ZONE - len(data)) & ~0xF
    return Frame(address, data)


def _resumed(registers: Any) -> tuple[int, int]:
    """Return the instruction and `rax` with which the thread is to go on, as if never stopped.

    A system call that the stop has interrupted is begun again, as the kernel does after a SIGSTOP and
    SIGCONT, with the rest of its time-out; what returns EINTR after those does so here, too.
    """
    rip: int = registers.rip
    call, result = _signed(registers.orig_rax), _signed(registers.rax)
    if call < 0:
        return rip, result
    if result in (-512, -513, -514):  # ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND
        return rip - len(_SYSCALL), call
    if result == -516:  # ERESTARTRESTARTBLOCK: a time-out that only the kernel knows the rest of
        return rip - len(_SYSCALL), RESTART
    return rip, result


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def scratch_header(frame_address: int) -> bytes:
    """Return the state at the begin of the scratch memory: status, result, MXCSR, where the frame is."""
    return struct.pack("<IiIIQ", 0, 0, 0x1F80, 0, frame_address)


def run_stub(base: int, functions: Mapping[str, int], mode: Mode) -> bytes:
    """Return the code that has the text at `TEXT_AT` run as Python.

    Args:
        base: of the scratch memory.
        functions: where `Py_IsInitialized` and so on are in the process.
        mode: "lock" for a thread that waits without the interpreter's lock: it takes the lock and runs the
            text at once. "ask" for any other: the interpreter is asked to run it between two bytecodes.
            "drain" when that was asked and the main thread has begun to wait just then: it runs what was asked.
    """
    if mode == "ask":
        body = (
            _RDI + struct.pack("<Q", functions["PyRun_SimpleString"])
            + _RSI + struct.pack("<Q", base + TEXT_AT)
            + _call(functions["Py_AddPendingCall"])
            + _KEEP_RESULT
            + _status(STATUS_RAN)
        )  # fmt: skip
    else:
        work = (
            _RDI
            + struct.pack("<Q", base + TEXT_AT)
            + _call(functions["PyRun_SimpleString"])
            + _KEEP_RESULT
        )
        if mode == "drain":
            # A handler for a signal may raise in there, where nobody could catch it: the signal is sent again.
            again = _call(functions["PyErr_Clear"]) + _call(functions["PyErr_SetInterrupt"])
            work = (
                _call(functions["Py_MakePendingCalls"]) + _TEST + _jump_if_zero(len(again)) + again
            )
        ensured = (
            _call(functions["PyGILState_Ensure"])
            + b"\x41\x89\xc4"  # mov r12d, eax
            + work
            + b"\x44\x89\xe7"  # mov edi, r12d
            + _call(functions["PyGILState_Release"])
            + _status(STATUS_RAN)
        )
        # PyGILState_Check says yes where a C function waits without giving the lock away: leave it alone.
        held = _call(functions["PyGILState_Check"]) + _unless_zero(STATUS_HELD, ensured)
        body = _call(functions["Py_IsInitialized"]) + _if_zero(STATUS_NOT_READY, held)
    return _prologue(base) + body + _epilogue()


def _prologue(base: int) -> bytes:
    return (
        b"\xfc"  # cld
         b"\x48\xbb" + struct.pack("<Q", base)  # mov rbx, base
        + _status(1)
        + _ALL_STATE + b"\x48\x0f\xae\xa3" + struct.pack("<I", _VECTORS_AT)  # xsave64 [rbx+vectors]
        + b"\xdb\xe3"  # fninit: C functions expect the x87 stack empty
        + b"\x0f\xae\x53\x08"  # ldmxcsr [rbx+8]
    )  # fmt: skip


def _epilogue() -> bytes:
    return (
        _ALL_STATE + b"\x48\x0f\xae\xab" + struct.pack("<I", _VECTORS_AT)  # xrstor64 [rbx+vectors]
        + b"\x48\x8b\x63\x10"  # mov rsp, [rbx+16]
        + b"".join(_POPS[name] for name in _POPPED_BY_RUN)
        + _IRETQ
    )  # fmt: skip


_ALL_STATE: Final = b"\xb8\xff\xff\xff\xff\xba\xff\xff\xff\xff"  # mov eax, -1; mov edx, -1


def _call(function: int) -> bytes:
    return b"\x48\xb8" + struct.pack("<Q", function) + b"\xff\xd0"  # mov rax, function; call rax


def _status(value: int) -> bytes:
    return b"\xc7\x03" + struct.pack("<I", value)  # mov dword [rbx], value


def _if_zero(status: int, otherwise: bytes) -> bytes:
    return _branch(b"\x0f\x85", status, otherwise)  # jnz past the status


def _unless_zero(status: int, otherwise: bytes) -> bytes:
    return _branch(b"\x0f\x84", status, otherwise)  # jz past the status


def _branch(jump: bytes, status: int, otherwise: bytes) -> bytes:
    """Set a status and leave out what follows, unless the jump is taken."""
    set_and_skip = _status(status) + b"\xe9" + struct.pack("<i", len(otherwise))
    return _TEST + jump + struct.pack("<i", len(set_and_skip)) + set_and_skip + otherwise


def _jump_if_zero(distance: int) -> bytes:
    return b"\x0f\x84" + struct.pack("<i", distance)


_TEST: Final = b"\x85\xc0"  # test eax, eax
_KEEP_RESULT: Final = b"\x89\x43\x04"  # mov [rbx+4], eax
_RDI: Final = b"\x48\xbf"  # mov rdi, imm64
_RSI: Final = b"\x48\xbe"  # mov rsi, imm64
