"""The parts of an injection that touch nothing: ELF files, maps, frames, instructions, and the text that is sent."""

from __future__ import annotations

import asyncio
import ctypes
import os
import platform
import struct
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from backstay.errors import TargetGone, UsageError
from backstay.observe.attach import _inside, _process, _stub, look, look_to_text
from backstay.observe.attach._attach import look_call, program
from backstay.observe.attach._elf import NotUnderstood, read_elf
from backstay.observe.attach._reply import ReplyFile

pytestmark = pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"), reason="Linux on x86-64 only"
)


def registers(**given: int) -> Any:
    """Registers of a thread in user code, unless told otherwise."""
    names = [
        "r15",
        "r14",
        "r13",
        "r12",
        "rbp",
        "rbx",
        "r11",
        "r10",
        "r9",
        "r8",
        "rax",
        "rcx",
        "rdx",
        "rsi",
        "rdi",
        "eflags",
        "cs",
        "ss",
    ]
    plain = {name: number for number, name in enumerate(names)}
    return SimpleNamespace(**plain | {"rip": 0x4000, "rsp": 0x7F07, "orig_rax": 2**64 - 1} | given)


def test_functions_are_found_where_the_loader_has_put_them() -> None:
    """What the ELF reader works out for this very process is what the dynamic linker says."""
    found = _process.examine(os.getpid())
    assert found.version == sys.version_info[:3]
    for name, address in found.functions.items():
        assert address == ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no ELF file"),
        (b"#!/bin/sh", "no ELF file"),
        (b"\x7fELF\x01\x01" + b"\0" * 58, "32-bit"),
        (b"\x7fELF\x02\x01" + b"\0" * 12 + b"\xb7\0" + b"\0" * 44, "aarch64"),
        (b"\x7fELF\x02\x01" + b"\0" * 12 + b"\x3e\0" + b"\xff" * 44, "truncated"),
    ],
)
def test_files_that_are_not_understood_are_refused_by_kind(data: bytes, says: str) -> None:
    """Never an exception of another kind, whatever the bytes are."""
    with pytest.raises(NotUnderstood, match=says):
        read_elf(data, ["main"])


def test_maps_are_read() -> None:
    """With paths that hold spaces, and without any."""
    text = "400000-401000 r-xp 00001000 08:01 17  /opt/my app/python\n7f00-7f01 rw-p 0 00:00 0\n"
    one, other = _process.parse_maps(text)
    assert (one.start, one.offset, one.inode, one.path) == (
        0x400000,
        0x1000,
        17,
        "/opt/my app/python",
    )
    assert other.path == ""


@pytest.mark.parametrize(
    ("given", "rip", "rax"),
    [
        ({"rax": 5}, 0x4000, 5),
        ({"orig_rax": 232, "rax": 2}, 0x4000, 2),
        ({"orig_rax": 232, "rax": 2**64 - 4}, 0x4000, 2**64 - 4),
        ({"orig_rax": 0, "rax": 2**64 - 512}, 0x3FFE, 0),
        ({"orig_rax": 202, "rax": 2**64 - 513}, 0x3FFE, 202),
        ({"orig_rax": 270, "rax": 2**64 - 514}, 0x3FFE, 270),
        ({"orig_rax": 7, "rax": 2**64 - 516}, 0x3FFE, 219),
        ({"rax": 2**64 - 512}, 0x4000, 2**64 - 512),
    ],
)
def test_a_thread_goes_on_where_the_kernel_would_have_it_go_on(
    given: dict[str, int], rip: int, rax: int
) -> None:
    """In user code, after a system call, or at its begin again when the stop has cut it short."""
    frame = _stub.back_frame(registers(**given))
    words = struct.unpack("<20Q", frame.data)
    assert words[15] == rip
    assert words[10] == rax
    assert words[18] == 0x7F07


def test_frames_lie_below_the_red_zone_and_aligned() -> None:
    """128 bytes below the stack pointer belong to the function that was interrupted."""
    for rsp in range(0x10000, 0x10020):
        for frame in (
            _stub.back_frame(registers(rsp=rsp)),
            _stub.syscall_frame(registers(rsp=rsp)),
        ):
            assert frame.address % 16 == 0
            assert frame.address + len(frame.data) <= rsp - 128


def test_the_stubs_fit_and_end_by_going_back() -> None:
    """Each fits its place and ends with iretq; the borrowed words are whole."""
    functions = dict.fromkeys(_process.FUNCTIONS, 0x1234)
    for mode in ("lock", "ask", "drain"):
        code = _stub.run_stub(0x10000, functions, mode)
        assert code.endswith(b"\x48\xcf")
        assert len(code) <= 0x400 - _stub.CODE_AT
    assert len(_stub.MAP_STUB) % 8 == 0


def test_a_call_that_goes_on_is_told_by_the_instruction_that_made_it() -> None:
    """To the kernel it is number 219; the program has loaded its number just before."""
    assert _stub.call_of(registers()) is None
    assert _stub.call_of(registers(orig_rax=219)) == 219
    assert _stub.call_before(b"\xb8\x07\0\0\0\x0f\x05") == 7
    assert _stub.call_before(b"\x90" * 7) is None
    assert _stub.call_before(b"") is None
    assert {7, 232} <= _stub.GIL_FREE_CALLS
    assert not {0, 202, 219} & _stub.GIL_FREE_CALLS


def test_where_a_handler_would_return_to_is_looked_at() -> None:
    """Below the frame on the thread's own stack, above the pointer on a stack for handlers, nowhere when it is back."""
    frame = _stub.back_frame(registers(rsp=0x7FFF_0000_0000))
    detour = _stub.Detour(0x1000, 24, frame)
    end = frame.address + len(frame.data)
    assert detour.covers(0x1017)
    assert not detour.covers(0x1018)
    assert detour.where_a_handler_returns(frame.address - 0x800) == (frame.address - 0x800, end)
    assert detour.where_a_handler_returns(frame.address - 0x8000) == (
        frame.address - _stub.HANDLER_ROOM,
        end,
    )
    begin, finish = detour.where_a_handler_returns(end + 0x100)
    assert begin >= finish
    assert detour.where_a_handler_returns(0x5000) == (0x5000, 0x5000 + _stub.HANDLER_ROOM)


def test_pythons_own_door_is_used_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The script that `sys.remote_exec` is handed is run here by a stand-in, as no Python of 3.14 is at hand."""

    def remote_exec(pid: int, script: str) -> None:
        assert pid == os.getpid()
        with open(script, encoding="utf-8") as file:
            exec(compile(file.read(), script, "exec"), {})

    monkeypatch.setattr(sys, "remote_exec", remote_exec, raising=False)
    found = look(os.getpid(), injecting=False, patience=5)
    assert found["way"] == "Python's own sys.remote_exec"
    assert found["pid"] == os.getpid()


def test_a_process_in_which_nobody_may_look_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Yama's scope is named, where it is that."""
    monkeypatch.setattr(_process, "_first_line", lambda path: "1")
    assert "ptrace_scope is 1" in _process.may_trace(os.getpid(), 1, "EPERM")
    monkeypatch.setattr(_process, "_first_line", lambda path: "")
    assert "SYS_PTRACE" in _process.may_trace(os.getpid(), 1, "EPERM")


@pytest.mark.real_loop
async def test_the_text_that_is_sent_leaves_no_name_behind() -> None:
    """Run as a program would be, it answers, and the namespace stays as it was."""
    started = asyncio.ensure_future(asyncio.gather(asyncio.sleep(60), asyncio.sleep(60)))
    await asyncio.sleep(0)
    names: dict[str, Any] = {}
    with ReplyFile(os.getpid()) as reply:
        assert not reply.complete()
        exec(program(look_call(reply.path)), names)
        assert reply.complete()
        answer = reply.read()
        path = reply.path
    names.pop("__builtins__")
    assert names == {}
    assert not os.path.exists(path)
    assert answer["tasks"] >= len(asyncio.all_tasks()), "of this loop, and of any other"
    started.cancel()
    text = look_to_text({**answer, "way": "here"})
    assert "2 × sleep" in text
    assert "running" in text


def test_an_error_inside_is_an_answer_and_not_an_exception() -> None:
    """The program that is visited never meets it."""

    def fail() -> None:
        raise OSError("no")

    with ReplyFile(os.getpid()) as reply:
        _inside.answer(reply.path, fail)
        with pytest.raises(UsageError, match="could not do it: OSError: no"):
            reply.read()
        _inside.answer("/nowhere/at/all", fail)


def test_an_answer_that_is_none_is_told() -> None:
    """Garbage in the file is no traceback."""
    with ReplyFile(os.getpid()) as reply:
        with open(reply.path, "wb") as file:
            file.write(b"\xff\n")
        assert reply.complete()
        with pytest.raises(TargetGone, match="no answer"):
            reply.read()


def test_names_cannot_steer_the_terminal() -> None:
    """A task may be named anything."""
    task = {
        "name": "\x1b[2J", "coroutine": "f", "definition": "", "state": "ready", "stack": [], "waits_for": "",
        "waits_on": [],
    }  # fmt: skip
    document = {"pid": 1, "way": "x", "asyncio": True, "tasks": 1, "python": "3", "list": [task]}
    assert "\x1b" not in look_to_text(document)
