"""A dump by signal, in this process; the tests of `backstay run` have one of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from backstay import Scope, run
from backstay.observe import dump
from backstay.observe.dump import SignalDump, on_signal
from backstay.observe.dump import _on_signal as subject


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "_PAUSE_S", 0.0)


Wait = Callable[[SignalDump, int], None]


@pytest.fixture
def wait() -> Wait:
    """Wait until so many dumps are written."""
    never = threading.Event()

    def until(armed: SignalDump, count: int) -> None:
        for _ in range(1_000):
            if armed.written >= count:
                return
            never.wait(0.01)
        raise AssertionError(f"{armed.written} dumps were written, not {count}")

    return until


def kick(number: signal.Signals = signal.SIGUSR1) -> None:
    os.kill(os.getpid(), number)


def test_a_signal_writes_a_dump_while_the_loop_is_blocked(tmp_path: Path, wait: Wait) -> None:
    """All tasks with stacks, the threads, and on top where the main thread was interrupted."""
    file = tmp_path / "dumps.txt"

    def block() -> None:
        kick()
        wait(armed, 1)

    async def main() -> None:
        async with Scope("orders", on_exit="cancel") as scope:
            scope.go(asyncio.sleep, 100)
            await asyncio.sleep(0)
            block()

    with on_signal("usr1", file=file) as armed:
        run(main)
    text = file.read_text()
    head, stack = text.splitlines()[:2]
    assert head.startswith(f"=== backstay dump of process {os.getpid()} at ")
    assert head.endswith("+00:00, by SIGUSR1")
    assert stack.startswith("Stack (most recent call first)")
    assert '", line ' in text.splitlines()[2]
    assert "in kick" in text
    assert "3 tasks in 3 groups" in text or "2 tasks in 2 groups" in text
    assert "owner orders" in text
    assert "thread 'MainThread' [runs " in text
    assert "backstay-signal-dump" not in text
    assert text.endswith("=== end of dump\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_dumps_are_appended_and_the_signal_is_given_back(tmp_path: Path, wait: Wait) -> None:
    """One after the other; afterwards the earlier handler has the signal again, and no thread is left."""
    got: list[int] = []
    before = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    try:
        armed = on_signal(signal.SIGUSR2, file=tmp_path / "dumps.txt")
        for count in (1, 2):
            kick(signal.SIGUSR2)
            wait(armed, count)
        armed.close()
        armed.close()
        assert signal.getsignal(signal.SIGUSR2) == signal.SIG_IGN
        kick(signal.SIGUSR2)  # ignored, as before
        assert (tmp_path / "dumps.txt").read_text().count("=== backstay dump") == 2
        assert "backstay-signal-dump" not in {one.name for one in threading.enumerate()}
        armed = on_signal(signal.SIGUSR2, file=tmp_path / "dumps.txt")
        signal.signal(signal.SIGUSR2, lambda number, frame: got.append(number))
        armed.close()
        kick(signal.SIGUSR2)
        assert got == [signal.SIGUSR2], "who took the signal meanwhile keeps it"
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_without_a_file_it_goes_to_stderr(capfd: pytest.CaptureFixture[str], wait: Wait) -> None:
    """Past every buffer: the interrupted code may be in the middle of one."""
    with on_signal() as armed:
        kick()
        wait(armed, 1)
    assert "=== backstay dump of process" in capfd.readouterr().err


def test_many_signals_at_once_are_few_dumps(
    tmp_path: Path, wait: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that come while one is written, or soon after it, are one."""
    monkeypatch.setattr(subject, "_PAUSE_S", 0.2)
    with on_signal(file=tmp_path / "dumps.txt") as armed:
        for _ in range(200):
            kick()
        wait(armed, 1)
    assert armed.written <= 2


def test_what_goes_wrong_is_written_in_place_of_the_dump(
    tmp_path: Path, wait: Wait, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A dump that fails, or cannot be written, fails nothing else; the next signal is heard."""

    def broken(**_: object) -> dict[str, object]:
        raise RuntimeError("no luck")

    with on_signal(file=tmp_path / "dumps.txt") as armed:
        monkeypatch.setattr(subject, "document", broken)
        kick()
        wait(armed, 1)
        monkeypatch.undo()
        (tmp_path / "dumps.txt").rename(tmp_path / "kept.txt")
        (tmp_path / "dumps.txt").mkdir()
        kick()
        wait(armed, 2)
    assert (
        "the dump failed: RuntimeError: no luck\n=== end of dump"
        in (tmp_path / "kept.txt").read_text()
    )
    assert f"could not be written to {tmp_path}/dumps.txt" in capfd.readouterr().err


def test_a_dump_is_bounded(tmp_path: Path, wait: Wait, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is cut, and said to be."""
    monkeypatch.setattr(subject, "_MOST_BYTES", 300)
    with on_signal(file=tmp_path / "dumps.txt") as armed:
        kick()
        wait(armed, 1)
    text = (tmp_path / "dumps.txt").read_text()
    assert len(text) < 400
    assert "... cut: " in text


def test_a_reader_that_is_slow_holds_nobody_up_for_ever(
    tmp_path: Path, wait: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody makes room, the dump is given up after a while, and the thread listens again."""
    monkeypatch.setattr(subject, "_PATIENCE_S", 0.05)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    monkeypatch.setattr(subject, "_STDERR", writer)
    monkeypatch.setattr(subject, "to_text", lambda *_, **__: "x" * 200_000)
    with on_signal() as armed:
        kick()
        wait(armed, 1)
    os.close(writer)
    os.close(reader)


def test_a_forked_child_begins_without_it(tmp_path: Path, wait: Wait) -> None:
    """Its signals write no dump of the parent, and end it as they did before."""
    with on_signal(file=tmp_path / "dumps.txt") as armed:
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGUSR1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGUSR1
        kick()
        wait(armed, 1)
    assert armed.written == 1


def test_bad_input_is_refused_with_what_to_do() -> None:
    """No such signal, one with a meaning, one that is handled, one that dumps already."""
    with pytest.raises(ValueError, match="'SIGFOO' is no signal: give a name"):
        on_signal("SIGFOO")
    with pytest.raises(ValueError, match="4711 is no signal"):
        on_signal(4711)
    for name in ("TERM", "SIGKILL", "SIGSEGV"):
        with pytest.raises(ValueError, match="use SIGUSR1, SIGUSR2 or SIGQUIT"):
            on_signal(name)
    before = signal.signal(signal.SIGUSR2, test_bad_input_is_refused_with_what_to_do)
    try:
        with pytest.raises(RuntimeError, match="handled already, by test_bad_input"):
            on_signal("SIGUSR2")
    finally:
        signal.signal(signal.SIGUSR2, before)
    with on_signal("SIGUSR2"), pytest.raises(RuntimeError, match="writes a dump already"):
        on_signal("SIGUSR2")
    fds = len(os.listdir("/proc/self/fd"))
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(subject.faulthandler, "register")
        with pytest.raises(RuntimeError, match="no signals to wait for"):
            on_signal("SIGUSR2")
    with pytest.MonkeyPatch.context() as patch:

        def fail(*_: object, **__: object) -> None:
            raise OSError("no")

        patch.setattr(subject.faulthandler, "register", fail)
        with pytest.raises(OSError, match="no"):
            on_signal("SIGUSR2")
    assert len(os.listdir("/proc/self/fd")) == fds
    assert dump.on_signal is on_signal
