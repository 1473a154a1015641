"""The worker's own decisions; its life as a process is tested in tests/lab."""

from __future__ import annotations

import asyncio
import importlib.util
import io
import json
import resource
from typing import Any

import pytest
from load_results import result

from backstay.errors import UsageError
from backstay.lab.load import LoadOptions, worker


def test_a_late_run_without_priority_names_the_remedy() -> None:
    """Who was late because it had to queue for the processor is told how not to."""
    late = worker._with_priority(result(reasons=("late",)), "normal")
    assert "CAP_SYS_NICE" in late.notes[0]
    assert worker._with_priority(result(reasons=("late",)), "realtime").notes == ()
    assert worker._with_priority(result(), "normal").notes == ()


def test_the_limit_on_files_is_raised_or_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections need file descriptors: enough are asked for, and a refusal says what to do."""
    asked: list[tuple[int, int]] = []

    def setrlimit(which: int, limits: tuple[int, int]) -> None:
        asked.append(limits)
        if limits[0] > limits[1]:
            raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda which: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", setrlimit)
    worker._allow_files(100)
    assert asked == []
    worker._allow_files(2000)
    assert asked == [(2000, 4096)]
    with pytest.raises(UsageError, match="5000 open files are needed and 4096 are allowed"):
        worker._allow_files(5000)


def test_the_loop_is_the_one_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` takes uvloop when it is there; asking for what is not there is an error."""
    assert worker._loop_factory("asyncio") is asyncio.new_event_loop
    assert worker._loop_factory("auto").__module__ == "uvloop"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert worker._loop_factory("auto") is asyncio.new_event_loop
    monkeypatch.setitem(__import__("sys").modules, "uvloop", None)
    with pytest.raises(UsageError, match="uvloop is not installed"):
        worker._loop_factory("uvloop")


@pytest.mark.parametrize(
    ("stdin", "code"),
    [
        (b"", 3),
        (
            json.dumps(
                {
                    "options": LoadOptions("http://h", 1.0, 1.0).to_json(),
                    "workload": {"target": "no:such", "options": {}, "pythonpath": []},
                }
            ).encode(),
            2,
        ),
    ],
)
def test_a_job_that_cannot_be_done_is_answered(
    stdin: bytes, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No job: leave quietly. A bad one: one line of JSON with the error."""
    stdout = io.BytesIO()
    pipes: Any = (io.BytesIO(stdin), stdout)
    monkeypatch.setattr(worker, "_take_over_pipes", lambda: pipes)
    monkeypatch.setattr(worker, "_leave_with_parent", lambda stdin: None)
    assert worker.main() == code
    if code == 2:
        assert json.loads(stdout.getvalue())["error"]["kind"] == "UsageError"
