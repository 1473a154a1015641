"""Samples close together, for whoever diagnoses."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from backstay.observe.admin import _documents
from backstay.observe.admin._close_look import CloseLook
from backstay.observe.admin._documents import Documents
from backstay.observe.desk import Request
from backstay.tasks import install


async def test_samples_are_taken_when_asked_but_not_too_close() -> None:
    """However many people ask, one each fifth of a second."""
    install()
    loop = asyncio.get_running_loop()
    look = CloseLook()
    told = [look.sample([loop], 100.0 + at) for at in (0.0, 0.1, 0.2, 1.2)]
    assert [one["samples"] for one in told] == [1, 1, 2, 3]
    assert told[-1]["span_s"] == pytest.approx(1.2)
    assert cast("float", told[-1]["next_s"]) >= 0.2


async def test_they_are_forgotten_when_nobody_asks() -> None:
    """Of another time, they would make a jump of what came slowly."""
    install()
    loop = asyncio.get_running_loop()
    look = CloseLook()
    look.sample([loop], 100.0)
    look.forget(160.0)
    assert look.samplers
    look.forget(160.1)
    assert not look.samplers
    assert look.sample([loop], 161.0)["samples"] == 1


async def test_a_loop_that_has_gone_is_forgotten() -> None:
    """A closed loop must not be kept by who looked at it."""
    install()
    loop = asyncio.get_running_loop()
    look = CloseLook()
    look.sample([loop], 100.0)
    assert look.sample([], 101.0) == {"samples": 0, "span_s": 0.0, "next_s": 0.2}
    assert not look.samplers


async def test_the_report_of_the_close_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each history judges its own report: neither takes samples from the other."""
    install()
    loop = asyncio.get_running_loop()
    clock = [1_000.0]
    monkeypatch.setattr(_documents, "now", lambda: clock[0])
    monkeypatch.setattr(_documents, "installed_loops", lambda: [loop])
    made = Documents(leak_interval=30.0, ready=lambda: True, requests=None)

    def ask(**query: str) -> dict[str, Any]:
        status, document = made.answer(Request("/v1/leaks", query))
        assert status == 200
        return cast("dict[str, Any]", document)

    for _ in range(3):
        ask(sample="1")
        clock[0] += 1.0
    made.sample_if_due()
    assert ask(close="1")["samples"] == 3
    assert ask()["samples"] == 1
    clock[0] += 61.0
    made.sample_if_due()
    assert ask(close="1")["samples"] == 0
    await asyncio.sleep(0)
