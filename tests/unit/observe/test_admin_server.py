"""The admin plane against real clients: good ones, slow ones, hostile ones."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backstay.errors import UsageError
from backstay.observe.admin import AdminClient, AdminServer
from backstay.observe.admin import _server as server_module
from backstay.tasks import install


@pytest.fixture
def server(tmp_path: Path) -> Iterator[AdminServer]:
    """Provide a started plane without samples."""
    with AdminServer(tmp_path / "a.sock", leak_interval=0) as plane:
        yield plane


def send(server: AdminServer, data: bytes, *, finish: bool = False) -> bytes:
    """Send bytes and return everything that comes back."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(server.address)
        try:
            sock.sendall(data)
            if finish:
                sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # refused while we were still talking
        chunks: list[bytes] = []
        try:
            while chunk := sock.recv(65536):
                chunks.append(chunk)
        except ConnectionResetError:
            pass
        return b"".join(chunks)


def get(server: AdminServer, path: str = "/livez") -> tuple[int, dict[str, Any]]:
    """Ask as a well-behaved client."""
    head, _, body = send(server, f"GET {path} HTTP/1.1\r\n\r\n".encode()).partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def wait_until(condition: Any) -> None:
    """Wait for another thread, shortly."""
    until = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_documents_and_unknown_paths(server: AdminServer) -> None:
    """Known paths answer, others say which there are."""
    assert get(server) == (200, {"alive": True, "loop_lag_s": 0.0})
    status, document = get(server, "/v1/nothing")
    assert status == 404
    assert "/v1/statistics" in document["error"]
    wait_until(lambda: server.statistics().connections == 0)
    assert (server.statistics().answered, server.statistics().refused) == (1, 1)


def test_many_kinds_of_garbage_leave_it_alive(server: AdminServer) -> None:
    """Random bytes, NULs, half requests, huge heads and wrong methods: no thread, no death."""
    threads = threading.active_count()
    dice = random.Random(7)
    for _ in range(200):
        send(server, dice.randbytes(dice.randrange(1, 300)), finish=True)
    for data in (
        b"\0" * 5000,
        b"GET / HTTP/1.1\r\n",
        b"GET /" + b"x" * 100_000,
        b"DELETE / X\r\n\r\n",
    ):
        send(server, data, finish=True)
    assert b" 431 " in send(server, b"GET / HTTP/1.1\r\nA: " + b"b" * 60_000 + b"\r\n\r\n")
    assert b" 403 " in send(server, b"POST /livez HTTP/1.1\r\n\r\n")
    assert get(server)[0] == 200
    assert threading.active_count() == threads
    wait_until(lambda: server.statistics().connections == 0)


def test_a_slow_client_is_shown_the_door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that trickles in gets 408, a silent connection is closed, and others are served."""
    monkeypatch.setattr(server_module, "READ_TIMEOUT_S", 0.2)
    with AdminServer(tmp_path / "a.sock", leak_interval=0) as server:
        with socket.socket(socket.AF_UNIX) as silent, socket.socket(socket.AF_UNIX) as slow:
            silent.connect(server.address)
            slow.connect(server.address)
            slow.send(b"GET /")
            assert get(server)[0] == 200
            slow.settimeout(5)
            silent.settimeout(5)
            assert b" 408 " in slow.recv(65536)
            assert silent.recv(1) == b""
        wait_until(lambda: server.statistics().connections == 0)


def test_a_client_that_never_reads_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reply that nobody takes is not kept for ever."""
    monkeypatch.setattr(server_module, "WRITE_TIMEOUT_S", 0.2)
    huge: dict[str, str] = {"a": "x" * 5_000_000}
    with AdminServer(tmp_path / "a.sock", leak_interval=0, requests=lambda: huge) as server:
        with socket.socket(socket.AF_UNIX) as lazy:
            lazy.connect(server.address)
            lazy.send(b"GET /v1/statistics HTTP/1.1\r\n\r\n")
            wait_until(lambda: server.statistics().answered == 1)
            assert get(server)[0] == 200
            wait_until(lambda: server.statistics().connections == 0)
        assert len(get(server, "/v1/statistics")[1]["requests"]["a"]) == 5_000_000


def test_connections_are_bounded(server: AdminServer) -> None:
    """One too many is told so, and places come free again."""
    crowd = [socket.socket(socket.AF_UNIX) for _ in range(server_module.MAX_CONNECTIONS)]
    try:
        for one in crowd:
            one.connect(server.address)
        wait_until(lambda: server.statistics().connections == len(crowd))
        assert b" 503 " in send(server, b"")
    finally:
        for one in crowd:
            one.close()
    wait_until(lambda: server.statistics().connections == 0)
    assert get(server)[0] == 200


def test_strangers_are_refused(server: AdminServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should the file's mode ever fail, the kernel still tells who is calling."""
    monkeypatch.setattr(server_module, "peer_of", lambda _: (1, os.geteuid() + 1))
    assert b" 403 " in send(server, b"GET /livez HTTP/1.1\r\n\r\n")


def test_web_pages_are_refused_on_loopback() -> None:
    """A browser led to loopback by a page names that page's host."""
    with AdminServer("127.0.0.1:0", leak_interval=0) as server:
        assert AdminClient(server.address).get("/livez")["alive"]
        port = int(server.address.rpartition(":")[2])
        for host, status in (("evil.example", 403), (f"127.0.0.1:{port}", 200), ("[::1]", 200)):
            with socket.create_connection(("127.0.0.1", port)) as sock:
                sock.sendall(f"GET /livez HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                assert sock.recv(65536).startswith(f"HTTP/1.1 {status} ".encode())


def test_it_answers_while_the_loop_is_blocked(server: AdminServer) -> None:
    """The very moment at which somebody asks; the lag so far is told."""
    answers: list[tuple[int, dict[str, Any]]] = []

    def ask() -> None:
        time.sleep(0.1)
        answers.extend([get(server, "/v1/statistics"), get(server, "/livez")])
        time.sleep(0.2)
        answers.append(get(server, "/v1/statistics"))

    async def main() -> None:
        install()
        asker = threading.Thread(target=ask)
        asker.start()
        time.sleep(0.6)  # the loop is blocked
        await asyncio.to_thread(asker.join)

    asyncio.run(main())
    assert [status for status, _ in answers] == [200, 200, 200]
    assert 0.04 < answers[0][1]["loop_lag_s"] < answers[2][1]["loop_lag_s"] < 0.6
    assert answers[0][1]["tasks"] == 1


def test_samples_are_taken_from_the_planes_thread(tmp_path: Path) -> None:
    """The leak report has a past without anybody asking first."""

    async def main() -> dict[str, Any]:
        install()
        with AdminServer(tmp_path / "a.sock", leak_interval=0.05) as server:
            await asyncio.sleep(0.4)
            return await asyncio.to_thread(AdminClient(server.address).get, "/v1/leaks?text=1")

    document = asyncio.run(main())
    assert document["samples"] >= 2
    assert document["text"].startswith("backstay leaks")


def test_stopping_leaves_nothing(tmp_path: Path) -> None:
    """No file, no thread, no descriptor; and stopping twice is harmless."""
    gc.collect()  # what tests before this one left would close its files in the middle
    before = len(os.listdir("/proc/self/fd"))
    server = AdminServer(tmp_path / "a.sock", leak_interval=0)
    assert server.address == ""
    server.stop()
    server.start()
    with pytest.raises(RuntimeError, match="started before"):
        server.start()
    server.stop()
    server.stop()
    assert not (tmp_path / "a.sock").exists()
    assert not [one for one in threading.enumerate() if one.name == "backstay-admin"]
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_file_can_be_removed_in_a_hurry(server: AdminServer, tmp_path: Path) -> None:
    """A process that ends without clean-up need not leave a stale socket."""
    server.remove_file()
    assert not (tmp_path / "a.sock").exists()


def test_a_taken_place_is_a_usage_error(server: AdminServer) -> None:
    """Two planes never share a socket."""
    with pytest.raises(UsageError, match="is in use by process"):
        AdminServer(server.address).start()


def test_a_forked_child_does_not_hold_the_socket(server: AdminServer) -> None:
    """When the parent has gone, nobody may seem to listen."""
    pid = os.fork()
    if pid == 0:
        closed = server._listener is not None and server._listener.sock.fileno() == -1
        os._exit(0 if closed else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert get(server)[0] == 200


def test_an_error_of_a_provider_is_a_document(tmp_path: Path, caplog: Any) -> None:
    """Somebody else's broken statistics do not take the plane along."""

    def broken() -> object:
        raise ValueError("no numbers today")

    with AdminServer(tmp_path / "a.sock", leak_interval=0) as server:
        server.watch_requests(broken)
        status, document = get(server, "/v1/statistics")
        assert status == 500
        assert document["error"] == "/v1/statistics failed: ValueError: no numbers today"
        assert "could not answer /v1/statistics" in caplog.text
