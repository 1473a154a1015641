"""`backstay ps` and `backstay leaks` against real processes."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from real_processes import Command, Start, document, in_background, line_of

pytestmark = pytest.mark.slow
RUN = ("run", "web:app", "--port", "0")


def test_ps_names_spawn_sites_of_an_application(start: Start, backstay: Command) -> None:
    """Where the tasks come from and what they wait for, as a table, tree, stacks and JSON."""
    process = start(*RUN)
    for _ in range(3):
        assert process.get("/leak") == (200, "ok")
    target = str(process.pid)
    found = document(backstay("ps", target, "--json"))
    assert found["pid"] == process.pid
    (leaked,) = [group for group in found["groups"] if group["coroutine"] == "forever"]
    assert leaked["count"] == 3
    assert leaked["site"].endswith(line_of("forever(), name"))
    assert "event" in leaked["blocked_on"]
    for flags in ((), ("--tree",), ("--stacks",)):
        shown = backstay("ps", target, *flags)
        assert shown.returncode == 0, shown.stderr
        assert line_of("forever(), name") in shown.stdout
        assert shown.stderr == ""


def test_ps_answers_while_the_loop_is_blocked(start: Start, backstay: Command) -> None:
    """The moment at which somebody asks."""
    process = start(*RUN, "--observe")
    blocked = in_background(lambda: process.get("/block/3"))
    process.wait_for("at /block/3")
    begun = time.monotonic()
    shown = backstay("ps", str(process.pid), "--json")
    assert shown.returncode == 0, shown.stderr
    assert time.monotonic() - begun < 2.5
    assert document(shown)["tasks"] >= 1
    assert blocked() == (200, "ok")


def test_leaks_accuse_with_exit_code_one(start: Start, backstay: Command) -> None:
    """Tasks that outlive their request by more than the grace, with the line that starts them."""
    process = start(*RUN, "--leak-interval", "1", "--admin", "own.sock")
    process.wait_for("listening on")
    clean = backstay("leaks", "own.sock", "--json")
    assert (clean.returncode, document(clean)["findings"]) == (0, [])
    for _ in range(20):
        process.get("/leak")
    time.sleep(6.5)  # orphans have five seconds to end
    accused = backstay("leaks", "own.sock", "--json")
    assert accused.returncode == 1
    finding = document(accused)["findings"][0]
    assert finding["site"].endswith(line_of("forever(), name"))
    assert finding["count"] == 20
    text = backstay("leaks", "own.sock")
    assert text.returncode == 1
    assert line_of("forever(), name") in text.stdout


def test_a_target_that_is_gone(start: Start, backstay: Command, room: Path) -> None:
    """After a kill -9 the stale socket is recognised and cleaned up."""
    process = start(*RUN)
    process.wait_for("listening on")
    process.signal(signal.SIGKILL)
    process.end()
    left = room / "runtime" / "backstay" / f"{process.pid}.sock"
    assert left.exists()
    gone = backstay("ps", str(process.pid))
    assert gone.returncode == 2
    assert f"process {process.pid} is gone" in gone.stderr
    assert not left.exists()


def test_two_processes_do_not_share_a_socket(start: Start, backstay: Command) -> None:
    """The second is told who is there, and the first goes on."""
    first = start(*RUN, "--admin", "own.sock")
    first.wait_for("listening on")
    second = backstay(*RUN, "--admin", "own.sock")
    assert second.returncode == 2
    assert f"is in use by process {first.pid}" in second.stderr
    assert document(backstay("ps", "own.sock", "--json"))["pid"] == first.pid


def test_a_loopback_address_works_too(start: Start, backstay: Command) -> None:
    """For where unix sockets do not reach."""
    process = start(*RUN, "--admin", "127.0.0.1:0")
    url = process.wait_for(r"admin plane at (http://127\.0\.0\.1:\d+)")[1]
    assert document(backstay("ps", url, "--json"))["pid"] == process.pid


def test_a_script_can_be_looked_at(start: Start, backstay: Command, room: Path) -> None:
    """Unmodified, with a plain asyncio.run inside."""
    (room / "script.py").write_text(
        "import asyncio, sys\n"
        "async def worker():\n"
        "    await asyncio.Queue().get()\n"
        "async def main():\n"
        "    tasks = [asyncio.create_task(worker()) for _ in range(4)]\n"
        "    print('up', file=sys.stderr, flush=True)\n"
        "    await asyncio.wait(tasks)\n"
        "asyncio.run(main())\n"
    )
    process = start("run", "script.py")
    process.wait_for("up")
    found = document(backstay("ps", str(process.pid), "--json"))
    (workers,) = [group for group in found["groups"] if group["coroutine"] == "worker"]
    assert workers["count"] == 4
    assert workers["site"].endswith("script.py:5")
    assert "queue get" in workers["blocked_on"]
