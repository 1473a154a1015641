"""`backstay run MODULE:APP` as a real process: serving, probes, and every way to end."""

from __future__ import annotations

import json
import signal
import time
from http.client import HTTPException
from pathlib import Path

import pytest
from real_processes import Command, Process, Start, in_background, line_of

pytestmark = pytest.mark.slow
RUN = ("run", "web:app", "--port", "0")


def sockets(room: Path) -> list[str]:
    return [path.name for path in (room / "runtime").rglob("*.sock")]


def test_a_sigterm_during_a_request_lets_it_finish(start: Start, room: Path) -> None:
    """The lame duck serves on while not ready, the request gets its 200, the exit code is 0."""
    process = start(*RUN, "--lame-duck", "1", "--json")
    assert process.get("/readyz") == (200, "ready\n")
    slow = in_background(lambda: process.get("/slow/3"))
    process.wait_for("at /slow/3")
    process.signal(signal.SIGTERM)
    process.wait_for("SIGTERM: not ready any more")
    assert process.get("/readyz") == (503, "draining\n")
    assert process.get("/livez") == (200, "alive\n")
    assert process.get("/") == (200, "ok"), "the lame duck still serves"
    process.wait_for("stops accepting; 1 requests to finish")
    time.sleep(0.5)
    with pytest.raises(ConnectionRefusedError):
        process.get("/")
    assert slow() == (200, "ok")
    assert process.end() == 0
    assert process.popen.stdout is not None
    hook, document = process.popen.stdout.read().splitlines()
    assert hook == "hook ran"
    record = json.loads(document)
    assert [(one["name"], one["ok"]) for one in record["phases"]] == [
        ("lame duck", True),
        ("drain", True),
        ("hooks", True),
    ]
    assert (record["exit_code"], record["signal"], record["lost"]) == (0, "SIGTERM", [])
    assert sockets(room) == []


def test_kept_alive_connections_are_asked_to_leave(start: Start) -> None:
    """An idle one is closed at the end; one in use learns of it with its next reply."""
    process = start(*RUN, "--lame-duck", "1")
    used, idle = process.connect(), process.connect()
    for connection in (used, idle):
        connection.request("GET", "/")
        reply = connection.getresponse()
        reply.read()
        assert not reply.will_close
    process.signal(signal.SIGTERM)
    process.wait_for("not ready any more")
    used.request("GET", "/")
    reply = used.getresponse()
    assert (reply.status, reply.read(), reply.getheader("connection")) == (200, b"ok", "close")
    assert process.end() == 0, "an idle connection must not hold up the end"
    used.close()
    idle.close()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_ends_it_at_once(start: Start, room: Path, number: int, code: int) -> None:
    """No drain, but the last words name what is left, and no socket stays behind."""
    process = start(*RUN)
    slow = in_background(lambda: _outcome(process, "/slow/30"))
    process.wait_for("at /slow/30")
    process.signal(signal.SIGTERM)
    process.wait_for("not ready any more")
    begun = time.monotonic()
    process.signal(number)
    assert process.end() == code
    assert time.monotonic() - begun < 1.0
    assert "leaving at once" in process.log
    assert "waits for sleep" in process.log
    assert slow() == "broken"
    assert sockets(room) == []


def _outcome(process: Process, path: str) -> str:
    try:
        process.get(path)
    except (OSError, HTTPException):
        return "broken"
    return "answered"


def test_ctrl_c_skips_the_lame_duck(start: Start) -> None:
    """Nobody balances load over a terminal; 130 tells the shell that calls us."""
    process = start(*RUN, "--lame-duck", "10")
    process.wait_for("listening on")
    begun = time.monotonic()
    process.signal(signal.SIGINT)
    assert process.end() == 130
    assert time.monotonic() - begun < 5.0
    assert "Traceback" not in process.log


def test_a_hung_shutdown_hook_is_cut_by_the_budget(start: Start) -> None:
    """It is named with the line where it hangs, and the exit code is still 0."""
    process = start(*RUN, "--grace", "2", "--lame-duck", "0", HANG_SHUTDOWN="1")
    process.wait_for("listening on")
    begun = time.monotonic()
    process.signal(signal.SIGTERM)
    assert process.end() == 0
    assert 1.5 < time.monotonic() - begun < 4.0
    assert "shutdown hook did not end within the grace" in process.log
    assert line_of("3600)  # hang") in process.log


def test_requests_over_the_budget_are_cut_and_named(start: Start) -> None:
    """In the log, and in the document on stdout; the stop was in order, and the exit code is 0."""
    process = start(*RUN, "--grace", "2", "--lame-duck", "0", "--json")
    slow = in_background(lambda: _outcome(process, "/slow/60"))
    process.wait_for("at /slow/60")
    process.signal(signal.SIGTERM)
    assert process.end() == 0
    assert process.popen.stdout is not None
    document = json.loads(process.popen.stdout.read().splitlines()[-1])
    assert len(document["lost"]) == 1
    assert "request cut, the grace is used up: " in process.log
    assert "waits for sleep" in process.log
    assert slow() in {"answered", "broken"}


def test_leftovers_are_named_with_their_spawn_site(start: Start) -> None:
    """Also those that do not end when cancelled, which must not keep the process."""
    process = start(*RUN, "--lame-duck", "0", "--grace", "3")
    assert process.get("/leak") == process.get("/stubborn") == (200, "ok")
    process.signal(signal.SIGTERM)
    assert process.end() == 0
    assert "left over: task 'leaked' (forever)" in process.log
    assert line_of("forever(), name") in process.log
    assert "did not end when cancelled: task 'stubborn' (stubborn)" in process.log


def test_a_blocked_loop_is_ended_after_the_grace(start: Start, room: Path) -> None:
    """The last resort says where the main thread is."""
    process = start(*RUN, "--grace", "1", "--lame-duck", "0")
    blocked = in_background(lambda: _outcome(process, "/block/60"))
    process.wait_for("at /block/60")
    process.signal(signal.SIGTERM)
    assert process.end() == 1
    assert "did not end within its grace (1 s)" in process.log
    assert f"{line_of('time.sleep(float')} in app" in process.log
    assert blocked() == "broken"
    assert sockets(room) == []


def test_a_job_that_holds_up_the_exit_is_named(start: Start) -> None:
    """Python waits for the threads of executors; the last resort says for which line."""
    process = start(*RUN, "--grace", "1", "--lame-duck", "0")
    assert process.get("/job") == (200, "ok")
    process.signal(signal.SIGTERM)
    assert process.end() == 0
    assert "did not end within its grace (1 s)" in process.log
    assert "left over: job compute at " in process.log
    assert line_of("3600)  # job") in process.log


def test_a_signal_during_start_up_ends_it(start: Start) -> None:
    """An application that takes for ever to start can be stopped."""
    process = start(*RUN, SLOW_STARTUP="1")
    process.wait_for("opening the database")
    process.signal(signal.SIGTERM)
    assert process.end() == 0
    assert "stopped before it had started" in process.log
    assert "listening" not in process.log


def test_a_signal_during_the_import_ends_it(start: Start, room: Path) -> None:
    """Also before there is a loop: in order, and without a stale socket."""
    for number, code in ((signal.SIGTERM, 0), (signal.SIGINT, 130)):
        process = start(*RUN, SLOW_IMPORT="1")
        process.wait_for("importing")
        process.signal(number)
        assert process.end() == code
        assert process.log == "importing\n"
        assert sockets(room) == []


def test_a_failed_start_up_is_told(backstay: Command) -> None:
    """Exit code 1: nothing is wrong with the command."""
    ended = backstay(*RUN, FAIL_STARTUP="1")
    assert ended.returncode == 1
    assert "no database" in ended.stderr
    assert "the application failed to start: its error is above" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_probes_can_be_moved_and_switched_off(start: Start) -> None:
    """An application that has its own keeps them."""
    moved = start(*RUN, "--livez", "/alive", "--readyz", "/ready")
    assert moved.get("/alive") == (200, "alive\n")
    assert moved.get("/ready") == (200, "ready\n")
    assert moved.get("/livez")[0] == 404
    off = start(*RUN, "--no-probes")
    assert off.get("/readyz")[0] == 404


def test_requests_are_logged_on_demand_and_logging_set_up_later_does_no_harm(
    start: Start, room: Path
) -> None:
    """`dictConfig` switches off every logger that it does not name; ours speak on."""
    source = (room / "web.py").read_text()
    setup = "import logging.config\nlogging.config.dictConfig({'version': 1})\n"
    (room / "web.py").write_text(setup + source)
    process = start(*RUN, "--access-log")
    assert process.get("/") == (200, "ok")
    process.wait_for(r'uvicorn\.access: 127\.0\.0\.1:\d+ - "GET / HTTP/1\.1" 200')


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_both_loops_serve(start: Start, loop: str) -> None:
    """And the statistics tell which one it is."""
    pytest.importorskip(loop)
    process = start(*RUN, "--loop", loop, "--admin", "admin.sock", "--lame-duck", "0")
    assert process.get("/") == (200, "ok")
    process.signal(signal.SIGTERM)
    assert process.end() == 0


def test_an_admission_refuses_in_front_of_uvicorn(start: Start) -> None:
    """`--admission`: beyond what a cold start lets in there is a 503 at once, and probes go on."""
    process = start(*RUN, "--admission")
    waiting = [in_background(lambda: process.get("/slow/1.5")) for _ in range(40)]
    process.wait_for("at /slow/1.5")
    time.sleep(0.5)
    assert process.get("/livez") == (200, "alive\n")
    answers = [outcome() for outcome in waiting]
    refused = [answer for answer in answers if answer == (503, "")]
    assert 4 <= len(refused) <= 16, len(
        refused
    )  # 32 places, of which some are for what is critical
    assert answers.count((200, "ok")) == 40 - len(refused)
    process.signal(signal.SIGTERM)
    assert process.end() == 0
