"""The last resort."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence

import pytest

from backstay.lifecycle import ExitWatchdog, _watchdog


def run_out(
    describe: list[str] | None, monkeypatch: pytest.MonkeyPatch, code: int = 1
) -> list[object]:
    """Arm a watchdog whose time is up at once, and return what it did."""
    monkeypatch.setattr(_watchdog, "MARGIN_S", 0.0)
    done: list[object] = []
    ended = threading.Event()

    def lines() -> Sequence[str]:
        if describe is None:
            raise ValueError("cannot look")
        return describe

    def leave(with_code: int) -> None:
        done.append(with_code)
        ended.set()

    watchdog = ExitWatchdog(lines, last_act=lambda: done.append("removed"), leave=leave).start()
    watchdog.code = code
    watchdog.arm(0.0)
    assert ended.wait(5)
    watchdog.stop()
    return done


def test_it_names_what_is_left_and_ends_the_process(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The place of the main thread and the leftovers come before the end."""
    assert run_out(["task 'x' without owner"], monkeypatch) == ["removed", 1]
    written = capfd.readouterr().err
    assert "did not end within its grace" in written
    assert "the main thread is at " in written
    assert "backstay: left over: task 'x' without owner" in written


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_it_ends_the_process_even_when_it_cannot_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end must not depend on a diagnostic."""
    assert run_out(None, monkeypatch, code=0) == ["removed", 0]


def test_called_off_it_does_nothing() -> None:
    """A process that ends in time is left alone."""
    done: list[int] = []
    watchdog = ExitWatchdog(list, leave=done.append)
    watchdog.stop()
    watchdog = ExitWatchdog(list, leave=done.append).start()
    watchdog.arm(1000.0)
    watchdog.stop()
    assert done == []


def test_the_main_thread_has_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also at the very end, when there is no frame any more."""
    assert re.search(r":\d+ in ", _watchdog._place_of_main_thread())
    monkeypatch.setattr(_watchdog.sys, "_current_frames", dict)
    assert _watchdog._place_of_main_thread() == "its end"
