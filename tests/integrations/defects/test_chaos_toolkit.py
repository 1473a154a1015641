"""Chaos Toolkit calls a coroutine function, never awaits it, and reports success; ours are plain functions."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chaoslib.experiment import (  # type: ignore[import-untyped]
    run_experiment,  # pyright: ignore[reportUnknownVariableType]
)

from backstay.errors import DeadlineExceeded, UsageError
from backstay.integrations import chaostoolkit

Start = Callable[..., Any]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

ACTIVITIES = """
from backstay.integrations.chaostoolkit import activity

async def broken():
    raise OSError("the service is gone")

plainly_broken = activity(timeout=3.0)(broken)

@activity(timeout=3.0)
async def fine(word):
    return word == "yes"
"""

SERVICE = """
import asyncio
from backstay.observe.admin import AdminServer
import backstay

async def main():
    backstay.install()
    with AdminServer("{socket}", leak_interval=0):
        waiting = [asyncio.create_task(asyncio.Event().wait()) for _ in range(3)]
        print("open", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def probe(func: str, tolerance: Any = True, module: str = "activities", **arguments: Any) -> Any:
    """One probe of an experiment."""
    provider = {"type": "python", "module": module, "func": func, "arguments": arguments}
    return {"type": "probe", "name": func, "tolerance": tolerance, "provider": provider}


def ours(func: str, tolerance: Any = True, **arguments: Any) -> Any:
    """One of the probes that come with Backstay."""
    return probe(func, tolerance, "backstay.integrations.chaostoolkit", **arguments)


def run(*probes: Any, method: Any = ()) -> Any:
    """Run an experiment, and return its journal."""
    hypothesis = {"title": "it works", "probes": list(probes)}
    return run_experiment(
        {
            "version": "1.0.0",
            "title": "an experiment",
            "description": "of a test",
            "steady-state-hypothesis": hypothesis,
            "method": list(method),
            "rollbacks": [],
        }
    )


@pytest.fixture(autouse=True)
def activities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module that the experiments name; the toolkit finds it by name."""
    (tmp_path / "activities.py").write_text(textwrap.dedent(ACTIVITIES))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "activities", raising=False)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # "never awaited"
def test_a_probe_that_cannot_succeed() -> None:
    """Stock: "succeeded", without having run. Through `activity`: failed, with its error."""
    stock = run(method=[probe("broken")])
    gc.collect()
    assert [one["status"] for one in stock["run"]] == ["succeeded"]
    mended = run(method=[probe("plainly_broken")])
    assert [one["status"] for one in mended["run"]] == ["failed"]
    assert "the service is gone" in str(mended["run"][0]["exception"])


def test_its_answer_is_what_the_tolerance_looks_at() -> None:
    """And not a coroutine object."""
    assert run(probe("fine", word="yes"))["status"] == "completed"
    journal = run(probe("fine", word="no"))
    assert journal["steady_states"]["before"]["steady_state_met"] is False


def test_what_a_process_says_of_itself(start: Start, tmp_path: Path) -> None:
    """Ready, so many tasks, nothing accused until it is; a target that is gone fails the probe."""
    socket = str(tmp_path / "admin.sock")
    service = start("-c", SERVICE.format(socket=socket))
    service.wait_for("open")
    assert chaostoolkit.ready(socket)
    assert chaostoolkit.tasks_alive(socket) == 4
    assert chaostoolkit.loop_lag(socket) < 5
    journal = run(ours("no_leaks", target=socket), ours("tasks_alive", [4, 4], target=socket))
    assert journal["status"] == "completed"
    assert not chaostoolkit.no_leaks(socket, prove=True)
    pid = service.popen.pid
    began = time.monotonic()
    hung = run(method=[{**ours("hang", pid=pid, seconds=0.5), "type": "action"}])
    assert hung["run"][0]["status"] == "succeeded"
    assert time.monotonic() - began >= 0.5
    assert chaostoolkit.tasks_alive(socket) == 4
    chaostoolkit.kill(pid)
    service.popen.wait(10)
    gone = run(ours("ready", target=socket))
    assert gone["steady_states"]["before"]["probes"][0]["status"] == "failed"


def test_a_url_that_nobody_answers() -> None:
    """False, and no error; something that is no URL is a slip."""
    assert chaostoolkit.answers("http://127.0.0.1:9/", timeout=0.5) is False
    with pytest.raises(UsageError, match="begins with http://"):
        chaostoolkit.answers("file:///etc/passwd")


@pytest.mark.parametrize("pid", [0, -1, 1, "x"])
def test_only_one_process_is_hit(pid: Any) -> None:
    """Neither a group of processes nor the first one of the system."""
    with pytest.raises(UsageError, match="the number of one process"):
        chaostoolkit.kill(pid)


def test_an_activity_may_be_called_where_a_loop_runs_and_ends_in_time() -> None:
    """In a thread of its own; over its time-out it is cut."""

    @chaostoolkit.activity(timeout=0.05)
    async def endless() -> None:
        await asyncio.Event().wait()

    @chaostoolkit.activity(timeout=3.0)
    async def quick() -> int:
        return os.getpid()

    async def body() -> int:
        return quick()

    assert asyncio.run(body()) == os.getpid()
    with pytest.raises(DeadlineExceeded, match="endless"):
        endless()
