"""Asking for priority: the best that is permitted, and never an error."""

from __future__ import annotations

import os

import pytest

from backstay.lab.load._priority import raise_priority


def refuse(*_: object) -> None:
    """Refuse as the kernel does."""
    raise PermissionError(1, "Operation not permitted")


def test_the_realtime_class_is_asked_for_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lowest real-time level, and not for children."""
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(
        os,
        "sched_setscheduler",
        lambda pid, policy, param: asked.append((policy, param.sched_priority)),
    )
    assert raise_priority() == "realtime"
    assert asked == [(os.SCHED_RR | os.SCHED_RESET_ON_FORK, 1)]


def test_a_better_nice_value_is_the_second_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit on niceness is met from above, step by step."""
    steps: list[int] = []

    def nice(step: int) -> int:
        steps.append(step)
        if step < -10:
            refuse()
        return step

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    monkeypatch.setattr(os, "nice", nice)
    assert raise_priority() == "nice"
    assert steps == [-20, -10]


def test_without_permission_it_goes_on_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary user gets an ordinary process, on systems without the classes too."""
    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    monkeypatch.setattr(os, "nice", refuse)
    assert raise_priority() == "normal"
    monkeypatch.delattr(os, "SCHED_RR")
    assert raise_priority() == "normal"
