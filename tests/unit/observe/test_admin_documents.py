"""The documents of the admin plane, asked without a socket."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from backstay import leak
from backstay.observe.admin import _documents
from backstay.observe.admin._documents import Documents
from backstay.observe.desk import Request
from backstay.tasks import install, installed_loops


@pytest.fixture(autouse=True)
def _no_loops_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests leave loops behind until they are collected."""
    before = set(map(id, installed_loops()))
    monkeypatch.setattr(
        _documents,
        "installed_loops",
        lambda: [loop for loop in installed_loops() if id(loop) not in before],
    )


def documents(interval: float = 0.0, *, ready: bool = True) -> Documents:
    return Documents(leak_interval=interval, ready=lambda: ready, requests=None)


def ask(made: Documents, path: str, **query: str) -> tuple[int, dict[str, Any]]:
    status, document = made.answer(Request(path, query))
    return status, cast("dict[str, Any]", document)


@pytest.mark.parametrize("interval", [-1.0, float("nan"), float("inf")])
def test_an_impossible_interval_is_refused(interval: float) -> None:
    """Zero switches sampling off; nothing else below it means anything."""
    with pytest.raises(ValueError, match="give seconds, or 0 for no samples"):
        documents(interval)


def test_before_the_first_loop() -> None:
    """A script that has not begun has no tasks and no leaks."""
    made = documents(30.0)
    assert ask(made, "/v1/ps")[1]["tasks"] == 0
    status, document = ask(made, "/v1/leaks", text="1")
    assert (status, document["findings"]) == (200, [])
    assert document["text"] == "No loop is tracked yet.\n"
    assert "text" not in ask(made, "/v1/leaks")[1]
    made._next_sample = 0.0
    made.sample_if_due()
    due = made.next_sample()
    assert due is not None
    assert due - made._started_at < 5.0, "it looks again soon, not in 30 s"


def test_readiness_is_the_processes() -> None:
    """Both answers are documents."""
    assert ask(documents(), "/readyz") == (200, {"ready": True})
    assert ask(documents(ready=False), "/readyz") == (503, {"ready": False})


def test_a_stalled_loop_is_not_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seconds are no pause any more."""
    made = documents()
    monkeypatch.setattr(made._pulses, "lag", lambda: 11.0)
    assert ask(made, "/livez") == (503, {"alive": False, "loop_lag_s": 11.0})


def test_without_samples_nothing_is_due() -> None:
    """The thread may sleep for good."""
    made = documents()
    assert made.next_sample() is None
    made.sample_if_due()


@pytest.mark.real_loop
async def test_a_dump_and_a_report_of_a_running_loop() -> None:
    """The documents that the verbs print."""
    install()
    waiting = asyncio.create_task(asyncio.Event().wait(), name="waiting")
    await asyncio.sleep(0)
    made = documents(10.0)
    made._next_sample = 0.0
    made.sample_if_due()
    status, dump = await asyncio.to_thread(ask, made, "/v1/ps", stacks="1", tree="1")
    assert status == 200
    assert dump["tasks"] >= 2
    assert dump["tree"]
    assert ask(made, "/v1/leaks", text="1")[1]["text"]
    assert ask(made, "/v1/leaks")[1]["samples"] == 1
    waiting.cancel()


def test_several_loops_make_one_report() -> None:
    """A process with two loops gets one list of findings, and closed loops are forgotten."""
    loops = [asyncio.new_event_loop() for _ in range(2)]
    made = documents(10.0)

    async def rest(seconds: float) -> None:
        await asyncio.sleep(seconds)

    tasks = []
    for loop in loops:
        install(loop)
        tasks.append(loop.create_task(rest(60)))
        loop.run_until_complete(rest(0))
    made._next_sample = 0.0
    made.sample_if_due()
    document = ask(made, "/v1/leaks")[1]
    assert document["tasks"] == 2
    assert len(document["busiest"]) == 2
    for loop, task in zip(loops, tasks, strict=True):
        task.cancel()
        loop.run_until_complete(asyncio.wait([task]))
        loop.close()
    made._next_sample = 0.0
    made.sample_if_due()
    assert not made._samplers


@pytest.mark.real_loop
async def test_a_failed_sample_is_logged_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A diagnostic never ends the thread that it runs in."""
    install()

    def fail(sampler: object) -> bool:
        raise RuntimeError("odd")

    monkeypatch.setattr(leak.Sampler, "sample", fail)
    made = documents(10.0)
    made._next_sample = 0.0
    made.sample_if_due()
    assert "a sample for the leak report failed" in caplog.text
    assert made.next_sample() is not None
