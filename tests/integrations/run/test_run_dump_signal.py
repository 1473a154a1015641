"""`backstay run --dump-signal`: a dump of a process whose admin plane is off, while its loop is blocked."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from real_processes import Command, Start, in_background, line_of

pytestmark = pytest.mark.slow
RUN = ("run", "web:app", "--port", "0", "--admin", "off", "--lame-duck", "0", "--no-sysmon")
BLOCKING = line_of("time.sleep(float")

# Uninterruptible by signals, and without the interpreter's lock: what a driver in C does.
SCRIPT = """
import asyncio, ctypes, os, sys

def call_into_c():
    reader, writer = os.pipe()
    libc, letter = ctypes.CDLL(None), ctypes.create_string_buffer(1)
    print("blocked", file=sys.stderr, flush=True)
    libc.read(reader, letter, 1)  # blocks

async def main():
    waiting = asyncio.create_task(asyncio.sleep(3600))
    await asyncio.sleep(0)
    call_into_c()

asyncio.run(main())
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_dump_names_the_line_that_blocks(start: Start, loop: str) -> None:
    """While it blocks; then the request is answered, and the process ends in order."""
    process = start(*RUN, "--loop", loop, "--dump-signal", "SIGUSR1")
    assert process.get("/leak") == (200, "ok")
    reply = in_background(lambda: process.get("/block/3"))
    process.wait_for("at /block/3")
    process.signal(signal.SIGUSR1)
    process.wait_for("=== end of dump", 2.9)
    dumped = process.log[process.log.index("=== backstay dump of process") :]
    file, line = BLOCKING.split(":")
    assert f'{file}", line {line} in app' in dumped.split("\n\n")[0], "the moment of the signal"
    running = next(part for part in dumped.split("\n\n") if "[running" in part)
    assert BLOCKING in running
    assert "task 'leaked' [waiting" in dumped
    assert "thread 'MainThread' [runs " in dumped
    assert reply() == (200, "ok")
    process.signal(signal.SIGTERM)
    assert process.end() == 0


def test_a_script_in_a_call_into_c_is_dumped_into_a_file(start: Start, room: Path) -> None:
    """A Python handler would never run there: the call is begun again after each signal."""
    (room / "script.py").write_text(SCRIPT)
    flags = ("--admin", "off", "--dump-signal", "quit", "--dump-file", "dumps.txt")
    process = start("run", *flags, "script.py")
    process.wait_for("blocked")
    line = next(n for n, text in enumerate(SCRIPT.splitlines(), 1) if "# blocks" in text)
    for count in (1, 2):
        process.signal(signal.SIGQUIT)
        dumped = _dumps(room / "dumps.txt", count)
    assert f'script.py", line {line} in call_into_c' in dumped
    assert f"script.py:{line}\n" in dumped
    assert "blocked on  sleep (" in dumped
    assert process.popen.poll() is None


def _dumps(file: Path, count: int) -> str:
    for _ in range(500):
        text = file.read_text() if file.exists() else ""
        if text.count("=== end of dump") >= count:
            return text
        time.sleep(0.02)
    raise AssertionError(f"no dump {count} within 10 s: {text[-500:]}")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--dump-signal", "SIGTERM"), "SIGTERM has a meaning of its own: use SIGUSR1"),
        (("--dump-signal", "FOO"), "'FOO' is no signal"),
        (("--dump-file", "x"), "name the signal as well"),
    ],
)
def test_bad_flags_are_refused(backstay: Command, flags: tuple[str, ...], said: str) -> None:
    """In one line, with what to do, and exit code 2."""
    found = backstay(*RUN, *flags)
    assert found.returncode == 2
    assert said in found.stderr
    assert "Traceback" not in found.stderr
