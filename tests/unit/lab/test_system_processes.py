"""Processes under the lab's care: started, watched, stopped, never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_up_comparison import scenario

from backstay.errors import UsageError
from backstay.lab.scenario import Readiness, Scenario
from backstay.lab.system import (
    Child,
    System,
    SystemFailed,
    Wardship,
    allocate_ports,
    http_exchange,
    is_ready,
)
from backstay.lab.system import _ports as ports_module

SERVER = """
import http.server, signal, sys
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        code = int(self.path[1:] or 200)
        self.send_response(code); self.send_header("Content-Length", "2"); self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *a): pass
signal.signal(signal.SIGTERM, {on_term})
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), H).serve_forever()
"""

TEXT = """\
name = "x"
[load]
workload = "w:W"
rate = 1
duration_s = 5
warmup_s = 0
[[process]]
name = "one"
role = "outsider"
command = ["{{python}}", "-c", '''{one}''', "{{port:one}}"]
ready = "http:/200"
ready_timeout_s = {timeout}
grace_s = 0.5
env = {{ GREETING = "{{variant}} {{seed}}" }}
pythonpath = ["."]
[[process]]
name = "two"
role = "service"
admin = true
command = ["{{python}}", "-c", '''{two}''', "{{port:two}}", "{{admin:two}}"]
ready_timeout_s = {timeout}
grace_s = 2
[[variant]]
name = "governed"
"""

CLEAN = SERVER.format(on_term="lambda *_: sys.exit(0)")
STUBBORN = SERVER.format(on_term="signal.SIG_IGN")


def plan(one: str = CLEAN, two: str = CLEAN, timeout: float = 10) -> Scenario:
    """Return a scenario of two little servers."""
    return scenario(TEXT.format(one=one, two=two, timeout=timeout))


def alive(pid: int) -> bool:
    """Say whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone_soon(pid: int) -> bool:
    """Wait a little for a process to be gone."""
    for _ in range(100):
        if not alive(pid):
            return True
        time.sleep(0.02)
    return False


def system(of: Scenario, wardship: Wardship, tmp_path: Path) -> System:
    """Return the system of a scenario, not started."""
    return System(of, of.variants[0], tmp_path / "run", wardship, seed=7)


@pytest.mark.slow
@pytest.mark.real_loop
async def test_a_system_starts_in_order_and_stops_in_reverse(tmp_path: Path) -> None:
    """Ready means ready, logs are there, and both end with code 0."""
    said: list[str] = []
    with Wardship() as wardship:
        of = plan()
        async with System(
            of, of.variants[0], tmp_path / "run", wardship, seed=7, on_progress=said.append
        ) as running:
            assert running.services() == ["two"]
            status, body = await http_exchange(running.ports["one"], "GET", "/200", timeout=5)
            assert (status, body) == (200, b"ok")
            assert running.unexpected_exits() == []
            assert running.admins["two"].parent.stat().st_mode & 0o777 == 0o700
            pid = running.children["one"].pid
            assert pid is not None
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            assert b"GREETING=governed 7" in environment
            assert any(entry.startswith(b"PYTHONPATH=") for entry in environment)
    assert said == ["starting one", "starting two", "stopping two", "stopping one"]
    assert [child.exit_code for child in running.children.values()] == [0, 0]
    assert running.unclean_exits() == []
    assert not (tmp_path / "run" / "sock").exists()


@pytest.mark.slow
@pytest.mark.real_loop
async def test_what_does_not_listen_is_killed_and_named(tmp_path: Path) -> None:
    """SIGTERM is a request with a deadline."""
    with Wardship() as wardship:
        async with system(plan(two=STUBBORN), wardship, tmp_path) as running:
            await running.stop(grace_s=0.3)
    assert running.children["two"].was_killed
    assert running.children["two"].how_it_ended() == "killed by SIGKILL"
    assert running.unclean_exits() == ["governed: two did not stop within 2 s of SIGTERM"]


@pytest.mark.slow
@pytest.mark.real_loop
async def test_a_wrong_exit_code_is_named(tmp_path: Path) -> None:
    """Ending is not enough: it has to be in order."""
    with Wardship() as wardship:
        two = SERVER.format(on_term="lambda *_: sys.exit(3)")
        async with system(plan(two=two), wardship, tmp_path) as running:
            pass
    assert running.unclean_exits() == ["governed: two did not stop in order: exit code 3"]


@pytest.mark.slow
@pytest.mark.real_loop
async def test_a_process_that_ends_before_it_is_ready_shows_its_log(tmp_path: Path) -> None:
    """The reason is in the log, so its end is in the message; the others are gone."""
    with Wardship() as wardship:
        failing = system(plan(two='import sys; sys.exit("no such table")'), wardship, tmp_path)
        with pytest.raises(
            SystemFailed, match=r"two ended before it was ready \(exit code 1\)"
        ) as caught:
            async with failing:
                raise AssertionError("never ready")
    assert "| no such table" in str(caught.value)
    pid = failing.children["one"].pid
    assert pid is not None
    assert gone_soon(pid)


@pytest.mark.slow
@pytest.mark.real_loop
async def test_a_process_that_is_never_ready_is_given_up(tmp_path: Path) -> None:
    """The time-out names process, port and seconds."""
    with Wardship() as wardship:
        silent = system(plan(one="import time; time.sleep(60)", timeout=0.4), wardship, tmp_path)
        with pytest.raises(
            SystemFailed, match=r"one was not ready on 127.0.0.1:\d+ within 0.4 s.*is empty"
        ):
            async with silent:
                raise AssertionError("never ready")


@pytest.mark.slow
@pytest.mark.real_loop
async def test_a_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    """The launcher says it in the log, in plain words."""
    of = scenario(
        TEXT.format(one="", two="", timeout=5).replace('"{python}", "-c"', '"no-such-program"', 1)
    )
    with (
        Wardship() as wardship,
        pytest.raises(SystemFailed, match=r"cannot start 'no-such-program': No such file"),
    ):
        async with system(of, wardship, tmp_path):
            raise AssertionError("never ready")


@pytest.mark.slow
@pytest.mark.real_loop
async def test_a_process_that_ends_by_itself_is_seen(tmp_path: Path) -> None:
    """The run is worthless from then on, and the line says who and how."""
    with Wardship() as wardship:
        async with system(plan(), wardship, tmp_path) as running:
            pid = running.children["two"].pid
            assert pid is not None
            os.kill(pid, signal.SIGSEGV)
            assert gone_soon(pid)
            (line,) = running.unexpected_exits()
    assert line.startswith("governed: two ended by itself (killed by SIGSEGV)")


@pytest.mark.slow
@pytest.mark.real_loop
async def test_a_cancelled_start_leaves_nothing(tmp_path: Path) -> None:
    """Cancelling while a process starts kills what is there."""
    with Wardship() as wardship:
        slow = system(plan(two="import time; time.sleep(60)"), wardship, tmp_path)
        start = asyncio.ensure_future(slow.__aenter__())
        while "two" not in slow.children or slow.children["two"].pid is None:
            await asyncio.sleep(0.02)
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start
    for child in slow.children.values():
        assert child.pid is not None
        assert gone_soon(child.pid)


@pytest.mark.slow
@pytest.mark.real_loop
async def test_a_long_path_moves_the_sockets_to_a_short_one(tmp_path: Path) -> None:
    """A unix socket's path is short by law; the temporary folder is removed at the end."""
    deep = tmp_path / ("deep" * 30)
    with Wardship() as wardship:
        async with system(plan(), wardship, deep) as running:
            folder = running.admins["two"].parent
            assert len(str(running.admins["two"])) < 100
            assert folder.is_dir()
        assert not folder.exists()


@pytest.mark.slow
def test_the_guardian_cleans_up_after_a_lab_that_was_killed(tmp_path: Path) -> None:
    """After kill -9 neither the group, with a grandchild that ignores signals, nor the folder is left."""
    script = f"""
import os, sys, time
from pathlib import Path
from backstay.lab.system import Child, Wardship
with Wardship() as wardship:
    folder = wardship.temporary_folder()
    child = Child("c", [sys.executable, "-c", "import subprocess, sys, time; p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True); time.sleep(600)"], Path({str(tmp_path / "log")!r}))
    child.start(wardship, dict(os.environ), Path("/"))
    print(child.pid, folder, flush=True)
    time.sleep(600)
"""
    lab = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert lab.stdout is not None
    pid, folder = lab.stdout.readline().split()
    for _ in range(250):
        if (tmp_path / "log").exists() and (tmp_path / "log").read_text().strip():
            break
        time.sleep(0.02)
    grandchild = int((tmp_path / "log").read_text())
    assert alive(int(pid))
    assert alive(grandchild)
    lab.kill()
    lab.wait()
    lab.stdout.close()
    assert gone_soon(int(pid))
    assert gone_soon(grandchild)
    for _ in range(100):
        if not Path(folder).exists():
            break
        time.sleep(0.02)
    assert not Path(folder).exists()


def test_nothing_can_be_entrusted_outside_of_the_block() -> None:
    """A wardship without a guardian would be a false promise."""
    with pytest.raises(RuntimeError, match="outside of the block"):
        Wardship().entrust_group(1)
    Wardship().__exit__(None, None, None)


@pytest.mark.slow
def test_a_dead_guardian_does_not_stop_the_lab() -> None:
    """It guards nothing more, and the work goes on."""
    with Wardship() as wardship:
        guardian = wardship._guardian
        assert guardian is not None
        guardian.kill()
        guardian.wait()
        wardship.entrust_group(999_999)
        wardship.release_group(999_999)


def test_a_child_before_its_start_is_calm(tmp_path: Path) -> None:
    """Stopping and killing what never ran does nothing, and the words fit."""
    child = Child("c", ["true"], tmp_path / "log")
    child.ask_to_stop()
    child.kill()
    assert child.how_it_ended() == "never started"
    assert child.tail() == ""
    assert repr(child) == "<Child c pid=None exit_code=None>"
    assert not child.is_running


def test_ports_are_different_and_free() -> None:
    """Each name gets a port of its own, and a taken one is passed over."""
    first = allocate_ports(["a"], start=20_000)["a"]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first))
        taken.listen()
        ports = allocate_ports(["a", "b", "c"], start=first)
    assert len(set(ports.values())) == 3
    assert first not in ports.values()


def test_no_free_port_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the range and the cure."""
    monkeypatch.setattr(ports_module, "_is_free", lambda _: False)
    with pytest.raises(UsageError, match="18000 and 31999"):
        allocate_ports(["a"])


@pytest.mark.slow
@pytest.mark.real_loop
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", (200, b"ok")),
        (b"HTTP/1.1 503 No\r\n\r\nuntil the end", (503, b"until the end")),
        (b"SSH-2.0-x\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\n", "broke off"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok", "broke off within"),
    ],
)
async def test_answers_are_read_to_their_end(
    answer: bytes, expected: tuple[int, bytes] | str
) -> None:
    """By length or by the end of the connection; what is not HTTP is said to be so."""

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(reply, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            await http_exchange(port, "POST", "/", b"{}", timeout=5)
        assert not await is_ready(Readiness(kind="http"), port)
    else:
        assert await http_exchange(port, "GET", "/", timeout=5) == expected
        assert await is_ready(Readiness(kind="http"), port) is (expected[0] == 200)
    assert await is_ready(Readiness(kind="tcp"), port)
    server.close()
    await server.wait_closed()
    assert not await is_ready(Readiness(kind="tcp"), port)
