"""The hook table: observers may come, go and fail without being noticed by the observed."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from backstay._base import (
    Chance,
    HasStatistics,
    Hook,
    SystemClock,
    follow_clock,
    now,
    random,
    use_clock,
    wall,
)
from backstay.testing import VirtualClock


def test_an_unused_hook_is_falsy() -> None:
    """The emitting side pays one truth test while nobody listens."""
    hook: Hook[int] = Hook("something_happened")
    assert not hook
    hook.emit(1)
    assert repr(hook) == "<Hook 'something_happened' listeners=0>"


def test_listeners_hear_until_they_leave() -> None:
    """Unsubscribing stops the events; doing it twice is harmless."""
    hook: Hook[int] = Hook("h")
    heard: list[int] = []
    leave = hook.subscribe(heard.append)
    assert hook
    hook.emit(1)
    leave()
    leave()
    hook.emit(2)
    assert heard == [1]


def test_a_failing_listener_is_logged_and_skipped(caplog: pytest.LogCaptureFixture) -> None:
    """An observer that breaks does not break what it observes, nor other observers."""
    hook: Hook[int] = Hook("h")
    heard: list[int] = []

    def broken(event: int) -> None:
        raise RuntimeError("observer bug")

    hook.subscribe(broken)
    hook.subscribe(heard.append)
    with caplog.at_level(logging.ERROR):
        hook.emit(1)
    assert heard == [1]
    assert "observer bug" in caplog.text


def test_the_clock_can_be_swapped_everywhere() -> None:
    """now() and wall() read the clock of the block, and the system's again after it."""
    clock = VirtualClock(100.0)
    with use_clock(clock):
        assert now() == 100.0
        clock.advance(5)
        assert now() == 105.0
        assert wall() == 1_767_225_600.0 + 105.0
    assert abs(now() - SystemClock.monotonic()) < 1.0
    assert wall() > 1_767_225_600.0


def test_who_follows_the_clock_gets_each_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hot path reads the same clock as now() without calling it."""
    monkeypatch.setattr("backstay._base._clock._followers", [])
    readers: list[Callable[[], float]] = []
    follow_clock(readers.append)
    clock = VirtualClock(100.0)
    with use_clock(clock):
        assert readers[-1]() == 100.0
    assert readers[-1] is readers[0] is SystemClock.monotonic


def test_time_does_not_run_backwards() -> None:
    """A virtual clock refuses to be turned back."""
    with pytest.raises(ValueError, match="only moves forward"):
        VirtualClock().advance(-1)


def test_seeded_chance_repeats_itself() -> None:
    """Two generators with one seed agree, and the shared one stays in [0, 1)."""
    assert [Chance(7).random() for _ in range(3)] == [Chance(7).random() for _ in range(3)]
    assert 0 <= random() < 1


def test_a_scope_has_statistics() -> None:
    """The protocol that metrics and dumps rely on is met by what claims it."""
    from backstay import Scope

    assert isinstance(Scope("s"), HasStatistics)
