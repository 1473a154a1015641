"""What must be known of a foreign process before it is touched, read from /proc and from the files it runs.

Everything that speaks against an injection is found here, with the process running undisturbed.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from backstay.errors import TargetGone, UsageError
from backstay.observe.attach._elf import NotUnderstood, read_elf
from backstay.observe.attach._stub import SCRATCH_SIZE

__all__ = ["Mapping", "Python", "examine", "free_place", "may_trace", "parse_maps"]

FUNCTIONS: Final = (
    "Py_IsInitialized",
    "PyGILState_Check",
    "PyGILState_Ensure",
    "PyGILState_Release",
    "PyRun_SimpleString",
    "Py_AddPendingCall",
    "Py_MakePendingCalls",
    "PyErr_Clear",
    "PyErr_SetInterrupt",
)
_WANTED: Final = (*FUNCTIONS, "Py_Version")
_LIBPYTHON: Final = re.compile(r"libpython3\.\d+[a-z]*\.so")
_AT_ENTRY: Final = 9
_BIGGEST_FILE: Final = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Mapping:
    """One line of /proc/PID/maps."""

    start: int
    end: int
    flags: str
    offset: int
    device: str
    inode: int
    path: str


@dataclass(frozen=True, slots=True)
class Python:
    """A process that runs CPython, as far as an injection has to know it.

    Attributes:
        pid: the process.
        version: (3, 11, 7) and so on.
        functions: addresses of the C API in the process.
        entry: where the program began; that code never runs again.
    """

    pid: int
    version: tuple[int, int, int]
    functions: dict[str, int]
    entry: int

    def check_injectable(self) -> None:
        """Refuse the versions of which nobody has tried it.

        Raises:
            UsageError: it is another version than 3.11, 3.12 or 3.13.
        """
        if not (3, 11) <= self.version[:2] <= (3, 13):
            raise UsageError(
                f"process {self.pid} runs Python {'.'.join(map(str, self.version))}: injection is known to be "
                f"safe for 3.11 to 3.13"
            )


def examine(pid: int) -> Python:
    """Find CPython in a process.

    Raises:
        UsageError: there is none, or it is one that cannot be entered safely; the message says why.
        TargetGone: there is no such process.
    """
    _check_machine()
    try:
        return _examine(pid)
    except (FileNotFoundError, ProcessLookupError) as error:
        raise TargetGone(
            f"no process with pid {pid}: it has ended, or the number is wrong"
        ) from error
    except PermissionError as error:
        raise UsageError(may_trace(pid, 1, "EPERM")) from error


def _examine(pid: int) -> Python:
    status = _status(pid)
    _check_state(pid, status)
    maps = parse_maps(_read(pid, "maps"))
    if any("/ld-musl" in one.path for one in maps):
        raise UsageError(f"process {pid} runs on musl, whose threads this injector does not know")
    functions = _find_functions(pid, maps)
    version = _version(pid, functions.pop("Py_Version"))
    return Python(pid, version, functions, _entry(pid))


def may_trace(pid: int, code: int, reason: str) -> str:
    """Say why the kernel did not let us trace a process, as well as we can tell."""
    if code != 1:
        return f"process {pid} cannot be entered: {reason}"
    try:
        uid = int(_status(pid).get("Uid", "-1").split()[0])
    except OSError:
        return f"process {pid} has ended"
    if uid != os.geteuid() and os.geteuid():
        return f"process {pid} belongs to user {uid}, not to us ({os.geteuid()}): ask as that user or as root"
    scope = _first_line("/proc/sys/kernel/yama/ptrace_scope")
    if scope not in ("", "0"):
        return (
            f"the kernel lets nobody look into process {pid} (kernel.yama.ptrace_scope is {scope}): "
            f"ask as root, or give CAP_SYS_PTRACE"
        )
    return (
        f"the kernel does not let us look into process {pid} ({reason}): in a container add the capability "
        f"SYS_PTRACE; programs that have raised their rights allow it to root only"
    )


def parse_maps(text: str) -> list[Mapping]:
    """Read the text of /proc/PID/maps."""
    found: list[Mapping] = []
    for line in text.splitlines():
        parts = line.split(None, 5)
        if len(parts) < 5:
            continue
        start, _, end = parts[0].partition("-")
        path = parts[5] if len(parts) > 5 else ""
        found.append(
            Mapping(
                int(start, 16), int(end, 16), parts[1], int(parts[2], 16), parts[3], int(parts[4]), path
            )
        )  # fmt: skip
    return found


def free_place(pid: int) -> int:
    """Return an address in the widest gap of the address space, far from whatever grows."""
    maps = [one for one in parse_maps(_read(pid, "maps")) if one.end < 2**47]
    gaps = [(after.start - before.end, before.end) for before, after in pairwise(maps)]
    size, start = max(gaps)
    if size < 1024 * SCRATCH_SIZE:
        raise UsageError(f"process {pid} has no room in its address space")
    # Not always the same place: one that was left there by an earlier visit must not be in the way.
    step = int.from_bytes(os.urandom(2), "little") * SCRATCH_SIZE
    return (start + size // 2 + step % (size // 4)) & ~0xFFFF


def _check_machine() -> None:
    release = tuple(int(part) for part in re.findall(r"\d+", platform.release())[:2])
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise UsageError(
            f"processes are entered on Linux on x86-64 only, not on {platform.system()} on {platform.machine()}"
        )
    if release < (4, 17):  # MAP_FIXED_NOREPLACE
        raise UsageError(
            f"Linux {platform.release()} is too old to enter a process: 4.17 is needed"
        )
    if " xsave " not in Path("/proc/cpuinfo").read_text("utf-8", "replace"):
        raise UsageError("this processor has no XSAVE, without which no register can be kept safe")


def _check_state(pid: int, status: dict[str, str]) -> None:
    tracer = status.get("TracerPid", "0")
    if tracer != "0":
        raise UsageError(
            f"process {pid} is traced by process {tracer} already (a debugger, strace): end that first"
        )
    state = status.get("State", "?")
    if state[:1] in "TtZX":
        raise UsageError(f"process {pid} is in state {state}: continue it first, if it still lives")
    if "shstk" in status.get("x86_Thread_features", ""):
        raise UsageError(
            f"process {pid} runs with a shadow stack, which forbids what an injection does"
        )


def _status(pid: int) -> dict[str, str]:
    lines = _read(pid, "status").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _read(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text("utf-8", "replace")


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text("ascii").strip()
    except OSError:
        return ""


def _find_functions(pid: int, maps: list[Mapping]) -> dict[str, int]:
    """Look into libpython, and where there is none, into the program itself."""
    program = os.path.realpath(f"/proc/{pid}/exe")
    libraries = [one for one in maps if _LIBPYTHON.search(os.path.basename(one.path))]
    missing: list[str] = []
    for path in dict.fromkeys([one.path for one in libraries] + [program]):
        mapped = [one for one in maps if one.path == path]
        if not mapped:
            continue
        found = _look_into(pid, path, mapped)
        if found.keys() >= set(_WANTED):
            return found
        if found:
            missing = sorted(set(_WANTED) - found.keys())
    if "Py_Version" in missing:
        raise UsageError(f"process {pid} runs a Python before 3.11")
    if missing:
        raise UsageError(
            f"the Python of process {pid} is stripped: it does not tell where {missing[0]} is"
        )
    raise UsageError(f"process {pid} does not run CPython ({program}), as far as its files tell")


def _look_into(pid: int, path: str, mapped: list[Mapping]) -> dict[str, int]:
    data = _file(pid, path, mapped[0])
    try:
        elf = read_elf(data, _WANTED)
    except NotUnderstood as error:
        raise UsageError(
            f"process {pid} runs {error} ({path}): only x86-64 is understood"
        ) from error
    bias = next(
        (bias for one in mapped if (bias := elf.bias(one.start, one.offset)) is not None), None
    )
    if bias is None:
        return {}
    return {name: bias + address for name, address in elf.symbols.items()}


def _file(pid: int, path: str, mapping: Mapping) -> bytes:
    """Read a file that a process has mapped, and no other that has taken its name since."""
    for place in (
        f"/proc/{pid}/map_files/{mapping.start:x}-{mapping.end:x}",
        f"/proc/{pid}/root{path}",
    ):
        try:
            with open(place, "rb") as file:
                found = os.fstat(file.fileno())
                if found.st_ino == mapping.inode and found.st_size < _BIGGEST_FILE:
                    return file.read()
        except OSError:
            continue
    raise UsageError(
        f"{path}, which process {pid} runs, cannot be read or was replaced since it began: restart the process"
    )


def _version(pid: int, address: int) -> tuple[int, int, int]:
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        number = int.from_bytes(memory.read(8), "little")
    return (number >> 24 & 0xFF, number >> 16 & 0xFF, number >> 8 & 0xFF)


def _entry(pid: int) -> int:
    data = Path(f"/proc/{pid}/auxv").read_bytes()
    words: Iterable[int] = memoryview(data[: len(data) // 16 * 16]).cast("Q")
    pairs = iter(words)
    entry = next((value for key, value in zip(pairs, pairs, strict=False) if key == _AT_ENTRY), 0)
    if not entry:
        raise UsageError(f"process {pid} does not tell where its program begins")
    return entry
