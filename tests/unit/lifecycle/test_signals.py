"""The first signal asks, the second insists."""

from __future__ import annotations

import signal
import threading

import pytest

from backstay.lifecycle import SignalCount, Stop, exit_code, heed_signals


def test_the_first_asks_and_every_later_one_insists() -> None:
    """Whatever the order of the two signals, only the first is patient."""
    count = SignalCount()
    assert count.record(signal.SIGTERM) is Stop.IN_ORDER
    assert count.record(signal.SIGINT) is Stop.AT_ONCE
    assert count.record(signal.SIGTERM) is Stop.AT_ONCE
    assert (count.first, count.count) == (signal.SIGTERM, 3)


def test_exit_codes_are_those_of_the_shell() -> None:
    """130 and 143 are what scripts look for."""
    assert (exit_code(signal.SIGINT), exit_code(signal.SIGTERM)) == (130, 143)


def test_signals_reach_the_callbacks_and_handlers_come_back() -> None:
    """After the block the process treats signals as before."""
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    heard: list[tuple[str, int]] = []
    with heed_signals(
        lambda number: heard.append(("stop", number)),
        lambda number: heard.append(("now", number)),
    ) as count:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
    assert heard == [("stop", signal.SIGTERM), ("now", signal.SIGINT)]
    assert count.first == signal.SIGTERM
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_other_threads_are_told_why_not() -> None:
    """Python delivers signals to the main thread only."""
    errors: list[BaseException] = []

    def heed() -> None:
        with (
            pytest.raises(RuntimeError, match="in the main thread only") as caught,
            heed_signals(print, print),
        ):
            pass
        errors.append(caught.value)

    thread = threading.Thread(target=heed)
    thread.start()
    thread.join()
    assert errors
