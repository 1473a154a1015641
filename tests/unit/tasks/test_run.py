"""`backstay.run`: the front door of a program, signals included (in real processes)."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import pytest
import uvloop

import backstay
from backstay.errors import ScopeMisuse
from backstay.tasks import info


def test_the_result_of_main_is_returned() -> None:
    """main runs with its arguments under a root scope, tracked, and go() works at once."""

    async def double(n: int) -> int:
        scope = backstay.current_scope()
        assert scope is not None
        assert (scope.name, scope.kind) == ("app", "app")
        task = backstay.go(asyncio.sleep, 0, n * 2)
        assert info(task).tracked
        return await task

    assert backstay.run(double, 21, name="app") == 42


def test_what_main_leaves_is_cancelled_and_awaited() -> None:
    """Tasks of the root scope end with main, as goroutines end with the program."""
    ended: list[str] = []

    async def background() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(0)
            ended.append("cleaned up")

    async def main() -> None:
        backstay.go(background)
        await asyncio.sleep(0)

    backstay.run(main)
    assert ended == ["cleaned up"]


def test_an_error_of_main_leaves_as_itself() -> None:
    """run() adds no wrapping to what main raises."""

    async def main() -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        backstay.run(main)


def test_run_works_outside_the_main_thread() -> None:
    """Signals need the main thread; everything else works in any."""
    results: list[int] = []

    async def main() -> int:
        return 7

    thread = threading.Thread(target=lambda: results.append(backstay.run(main)))
    thread.start()
    thread.join()
    assert results == [7]


PROGRAM = """
import asyncio, sys, backstay

async def main():
    try:
        print("ready", flush=True)
        await asyncio.sleep(60)
    finally:
        print("cleaning", flush=True)
        await asyncio.sleep({cleanup})
        print("clean", flush=True)

backstay.run(main)
"""


def start(tmp_path: Path, cleanup: float) -> subprocess.Popen[str]:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM.format(cleanup=cleanup))
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_the_program_in_order(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """The first signal runs every finally, waits for clean-up and exits with the documented code."""
    process = start(tmp_path, cleanup=0.05)
    process.send_signal(number)
    output, _ = process.communicate(timeout=20)
    assert output == "cleaning\nclean\n"
    assert process.returncode == code


@pytest.mark.slow
def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    """Whoever asks twice does not want to wait for a clean-up that hangs."""
    process = start(tmp_path, cleanup=60)
    assert process.stdout is not None
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "cleaning\n"
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=20)
    assert output == ""
    assert process.returncode == -signal.SIGTERM


def test_a_loop_is_forgotten_after_the_run() -> None:
    """Tracking keeps no closed loop alive, although nobody uninstalls it."""
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def main() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))

    for factory in (asyncio.new_event_loop, uvloop.new_event_loop):
        backstay.run(main, loop_factory=factory)
    gc.collect()
    assert [loop() for loop in loops] == [None, None]


def test_slips_are_told_in_words() -> None:
    """run(main()) and run() inside a loop say what to write instead, and warn of nothing else."""

    async def main() -> None:
        with pytest.raises(ScopeMisuse, match="await the function itself"):
            backstay.run(main)

    with pytest.raises(TypeError, match=r"run\(main, \.\.\.\)"):
        backstay.run(main())  # type: ignore[arg-type]
    asyncio.run(main())


def test_the_signal_handlers_of_before_come_back() -> None:
    """run() borrows SIGTERM and SIGINT and gives them back."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:

        async def main() -> None:
            assert callable(signal.getsignal(signal.SIGTERM))

        backstay.run(main)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_signal_while_children_clean_up_does_not_tear_it() -> None:
    """The first signal is heeded until the last task of the root scope has ended."""
    ended: list[str] = []

    async def child() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0.01)
            ended.append("clean")

    async def main() -> str:
        backstay.go(child)
        await asyncio.sleep(0)
        return "result"

    assert backstay.run(main) == "result"
    assert ended == ["clean"]


BLOCKED = """
import backstay

async def main():
    print("ready", flush=True)
    while True:
        pass

backstay.run(main)
"""


@pytest.mark.slow
def test_a_second_signal_ends_a_blocked_loop(tmp_path: Path) -> None:
    """The loop that never comes back to its handlers is when people ask twice."""
    script = tmp_path / "program.py"
    script.write_text(BLOCKED)
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)  # two signals at once are one for the kernel
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGTERM
