"""`backstay run MODULE:SERVICE`, and `run_service` in a script, as real processes: every way to end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from http.client import HTTPException
from pathlib import Path

import pytest
from real_processes import Command, Process, Start, environment, in_background

pytestmark = pytest.mark.slow

SERVICE = """
import asyncio, contextlib, os, sys, threading, time
from backstay.integrations.uvicorn_server import http_server
from backstay.lifecycle import Service, register_hook, run_service
from web import app

service = Service("orders", grace=float(os.environ.get("GRACE", "20")), lame_duck=float(os.environ.get("DUCK", "0")))

@contextlib.asynccontextmanager
async def database():
    print("database opens", flush=True)
    if os.environ.get("NO_DATABASE"): raise ConnectionError("no database at db:5432")
    yield "pool"
    print("database closes", flush=True)

async def poll(leave):
    if os.environ.get("THREAD"): threading.Thread(target=time.sleep, args=(60,), name="old-driver").start()
    await leave.wait()
    print("poller leaves", flush=True)

async def flush():
    if os.environ.get("HANG"): await asyncio.sleep(3600)  # hangs
    print("flushed", flush=True)

service.add("database", database)
service.add("http", lambda: http_server(app, port=0, readiness=service.readiness), needs=("database",), budget=float(os.environ.get("BUDGET", "10")))
service.task("poller", poll, needs=("database",))
register_hook(flush, name="flush", budget=1.0, after=("http",))

if __name__ == "__main__":
    sys.exit(run_service(service))
"""

RUN = ("run", "shop:service")


@pytest.fixture
def room(room: Path) -> Path:
    """Put the service beside the application that it serves."""
    (room / "shop.py").write_text(SERVICE)
    return room


def said(process: Process) -> list[str]:
    assert process.popen.stdout is not None
    return process.popen.stdout.read().splitlines()


def test_a_sigterm_stops_the_parts_in_reverse_order_and_lets_a_request_finish(start: Start) -> None:
    """The request gets its 200, the database closes last, the exit code is 0."""
    process = start(*RUN, "--lame-duck", "1", "--json")
    assert process.get("/readyz") == (200, "ready\n")
    slow = in_background(lambda: process.get("/slow/2"))
    process.wait_for("at /slow/2")
    process.signal(signal.SIGTERM)
    process.wait_for("orders: draining: SIGTERM")
    assert process.get("/readyz") == (503, "SIGTERM\n")
    assert process.get("/") == (200, "ok"), "the lame duck still serves"
    assert slow() == (200, "ok")
    assert process.end() == 0, process.log
    *lines, document = said(process)
    assert lines[0] == "database opens"
    assert sorted(lines[1:]) == ["database closes", "flushed", "hook ran", "poller leaves"]
    assert lines.index("database closes") > max(
        lines.index("hook ran"), lines.index("poller leaves")
    )
    assert lines.index("flushed") > lines.index("hook ran"), "the hook follows the server"
    record = json.loads(document)
    assert (record["state"], record["exit_code"]) == ("exited", 0)
    assert {one["name"] for one in record["components"]} == {"database", "http", "poller", "flush"}


def test_a_hanging_hook_is_cut_at_its_budget_and_named(start: Start) -> None:
    """The rest stops all the same, and the process ends with 0 well within the grace."""
    process = start(*RUN, HANG="1")
    assert process.port
    begun = time.monotonic()
    process.signal(signal.SIGTERM)
    assert process.end() == 0, process.log
    assert time.monotonic() - begun < 10
    assert "component flush was cut" in process.log
    assert "asyncio.sleep" in process.log or "sleep" in process.log
    assert "database closes" in said(process)


def test_a_request_that_never_ends_is_cut_at_the_budget_and_named(start: Start) -> None:
    """The budget of the server is the limit; the log names the request and where it waits."""
    process = start(*RUN, BUDGET="1")
    slow = in_background(lambda: _outcome(process, "/slow/60"))
    process.wait_for("at /slow/60")
    begun = time.monotonic()
    process.signal(signal.SIGTERM)
    assert process.end() == 0, process.log
    assert time.monotonic() - begun < 10
    assert slow() != (200, "ok")
    assert "request cut, the budget of the server is used up" in process.log
    assert "web.py:" in process.log
    assert "database closes" in said(process)


def test_a_part_that_does_not_start_ends_the_process_with_its_reason(backstay: Command) -> None:
    """Exit code 1, the part and its error in the log, and nothing that needs it has begun."""
    done = backstay(*RUN, NO_DATABASE="1")
    assert done.returncode == 1
    assert "component 'database' of service 'orders' did not start" in done.stderr
    assert "no database at db:5432" in done.stderr
    assert "listening" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(start: Start, number: signal.Signals) -> None:
    """No drain, but the last words name what is left."""
    process = start(*RUN)
    slow = in_background(lambda: _outcome(process, "/slow/60"))
    process.wait_for("at /slow/60")
    process.signal(signal.SIGTERM)
    process.wait_for("orders: draining")
    begun = time.monotonic()
    process.signal(number)
    assert process.end() == 128 + number
    assert time.monotonic() - begun < 3
    assert "leaving at once" in process.log
    assert "/slow" in process.log or "web.py" in process.log
    slow()


def test_a_blocked_loop_cannot_hold_the_process_beyond_its_grace(start: Start) -> None:
    """A thread ends it, and says where the main thread is."""
    process = start(*RUN, GRACE="2")
    blocked = in_background(lambda: _outcome(process, "/block/30"))
    process.wait_for("at /block/30")
    begun = time.monotonic()
    process.signal(signal.SIGTERM)
    assert process.end() == 1
    assert time.monotonic() - begun < 8
    assert "did not end within its grace" in process.log
    assert "web.py" in process.log
    blocked()


def test_a_thread_that_is_left_is_named(start: Start) -> None:
    """Python would wait for it for good; the watchdog does not, and the log says for whom."""
    process = start(*RUN, THREAD="1", GRACE="2")
    assert process.port
    process.signal(signal.SIGTERM)
    process.end()
    assert "old-driver" in process.log


def test_a_script_of_ones_own_runs_a_service_without_the_command(room: Path) -> None:
    """`sys.exit(run_service(service))` under plain python: ready, SIGTERM, 0."""
    popen = subprocess.Popen(
        [sys.executable, "-c", "import logging; logging.basicConfig(level=20); import runpy; runpy.run_path('shop.py', run_name='__main__')"],
        cwd=room, env=environment(room, {"PYTHONPATH": str(room)}), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    process = Process(popen)
    try:
        assert process.get("/") == (200, "ok")
        process.signal(signal.SIGTERM)
        assert process.end() == 0, process.log
    finally:
        popen.kill()
        popen.wait()
        for stream in (popen.stdout, popen.stderr):
            if stream is not None:
                stream.close()


def test_flags_of_applications_are_refused(backstay: Command) -> None:
    """A service opens its own doors, so a port on the command line would be ignored: say so."""
    done = backstay(*RUN, "--port", "0")
    assert done.returncode == 2
    assert "--port is for an ASGI application: service 'orders' opens its own doors" in done.stderr
    assert "Traceback" not in done.stderr


def test_registered_hooks_run_after_an_applications_own_shutdown(start: Start, room: Path) -> None:
    """Under `backstay run MODULE:APP` too: in order, the failed one named, the exit code 1."""
    (room / "hooked.py").write_text(
        "from web import app\n"
        "from backstay.lifecycle import register_hook\n"
        "async def flush(): print('flushed', flush=True)\n"
        "async def fail(): raise OSError('disk full')\n"
        "register_hook(flush, name='flush')\n"
        "register_hook(fail, name='fail', after=('flush',))\n"
    )
    process = start("run", "hooked:app", "--port", "0", "--lame-duck", "0")
    assert process.port
    process.signal(signal.SIGTERM)
    assert process.end() == 1
    assert said(process) == ["hook ran", "flushed"]
    assert "a shutdown hook failed: disk full" in process.log


def test_registered_hooks_run_although_the_application_hangs(start: Start, room: Path) -> None:
    """A lifespan that hangs is cut early enough to leave them some of the grace."""
    (room / "hooked.py").write_text(
        "from web import app\n"
        "from backstay.lifecycle import register_hook\n"
        "async def flush(): print('flushed', flush=True)\n"
        "register_hook(flush)\n"
    )
    process = start(
        "run", "hooked:app", "--port", "0", "--lame-duck", "0", "--grace", "4", HANG_SHUTDOWN="1"
    )
    assert process.port
    begun = time.monotonic()
    process.signal(signal.SIGTERM)
    process.end()
    assert time.monotonic() - begun < 6
    assert said(process) == ["flushed"], process.log


def _outcome(process: Process, path: str) -> tuple[int, str] | str:
    try:
        return process.get(path)
    except (OSError, HTTPException) as error:
        return type(error).__name__
