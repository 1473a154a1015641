"""`backstay leaks --prove` against a real process."""

from __future__ import annotations

import signal

import pytest
from real_processes import Command, Start, document

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_stuck_task_is_proved_in_a_running_process(
    start: Start, backstay: Command, loop: str
) -> None:
    """Twice, a second apart; with its line, its keeper and its calls, and the exit code says so."""
    process = start(
        *("run", "web:app", "--port", "0", "--admin", "own.sock", "--lame-duck", "0"),
        *("--loop", loop),
    )
    assert process.get("/")[0] == 200
    clean = backstay("leaks", "own.sock", "--prove")
    assert (clean.returncode, clean.stderr) == (0, "")
    assert "Proof: 0 proved" in clean.stdout
    for _ in range(3):
        process.get("/leak")
    process.wait_for("at /leak")
    shown = backstay("leaks", "own.sock", "--prove")
    assert (shown.returncode, shown.stderr) == (1, "")
    assert "STUCK" in shown.stdout
    assert "a list in web.kept" in shown.stdout
    told = backstay("leaks", "own.sock", "--prove", "--json")
    assert told.returncode == 1
    (finding,) = [one for one in document(told)["findings"] if one["verdict"] == "STUCK"]
    assert (finding["count"], finding["task_name"]) == (3, "leaked")
    assert finding["site"].startswith("web.py:")
    process.signal(signal.SIGTERM)
    process.end()


def test_a_watch_wants_sensible_seconds(backstay: Command) -> None:
    """Neither nothing nor a word."""
    for wrong in ("0", "-1", "soon"):
        refused = backstay("leaks", "1", "--watch", wrong)
        assert refused.returncode == 2
        assert "--watch" in refused.stderr
        assert "Traceback" not in refused.stderr


def test_new_verdicts_are_written_to_the_log(start: Start) -> None:
    """Once each, by the process itself, when that was asked for."""
    process = start(
        *("run", "web:app", "--port", "0", "--admin", "own.sock", "--lame-duck", "0"),
        *("--leak-interval", "0.3", "--log-leaks"),
    )
    process.get("/leak")
    process.wait_for("STUCK: 1 tasks started at web.py:")
    process.signal(signal.SIGTERM)
    process.end()
