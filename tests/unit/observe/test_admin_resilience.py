"""What the admin plane outlives: answers that are no documents, crowds, floods, and desks that hang."""

from __future__ import annotations

import json
import logging
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from backstay.observe.admin import AdminClient, AdminServer
from backstay.observe.admin import _server as server_module
from backstay.observe.desk import Errand, Reply, Request, Wait, as_json


class SlowDesk:
    """Answers below /slow as soon as it may, and notes how it is treated."""

    prefixes = ("/slow",)
    paths = ("/slow",)
    methods = ("GET",)

    def __init__(self) -> None:
        self.may_go = threading.Event()
        self.running = 0
        self.closed = 0
        self.close_takes: Callable[[], object] = lambda: None

    def answer(self, asked: Request) -> Reply | Errand:
        """Return an errand that ends when told, whether or not its client is there."""
        self.running += 1
        return Errand("slow", 5.0, self._make)

    def _make(self, wait: Wait) -> Reply:
        self.may_go.wait(10)
        return as_json({"done": True})

    def close(self) -> None:
        """Take as long as told."""
        self.closed += 1
        self.close_takes()


@pytest.fixture
def desk() -> Iterator[SlowDesk]:
    """Provide a desk, and let go of whoever waits for it."""
    found = SlowDesk()
    yield found
    found.may_go.set()


def opened(where: Path, *desks: Any, **options: Any) -> AdminServer:
    """Open a plane with some desks more."""
    server = AdminServer(where / "a.sock", leak_interval=0, **options)
    server._desks = (*server._desks, *desks)
    return server


def raw(server: AdminServer, data: bytes) -> bytes:
    """Send bytes, and return all that comes back."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(server.address)
        sock.sendall(data)
        chunks: list[bytes] = []
        with suppress(ConnectionResetError):
            while chunk := sock.recv(65536):
                chunks.append(chunk)
    return b"".join(chunks)


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for another thread, shortly."""
    until = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


class Broken:
    """Cannot be told as a text."""

    def __str__(self) -> str:
        raise ZeroDivisionError("no text")


def circle() -> dict[str, Any]:
    """Return what holds itself."""
    found: dict[str, Any] = {}
    found["self"] = found
    return found


@pytest.mark.parametrize("make", [circle, Broken, lambda: {("a", "b"): 1}])
def test_statistics_that_are_no_document_are_told_and_outlived(
    tmp_path: Path, make: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    """It used to end the plane's thread: the answer was written where nobody caught the error."""
    with opened(tmp_path, requests=lambda: {"a": make()}) as server:
        assert b" 500 " in raw(server, b"GET /v1/statistics HTTP/1.1\r\n\r\n")
        assert b" 200 " in raw(server, b"GET /livez HTTP/1.1\r\n\r\n")
    assert "is no document" in caplog.text or "could not answer" in caplog.text


def test_numbers_that_are_none_are_null(tmp_path: Path) -> None:
    """A browser cannot read what Python writes for them."""
    with opened(tmp_path, requests=lambda: {"a": [math.inf, math.nan, 1.5]}) as server:
        body = raw(server, b"GET /v1/statistics HTTP/1.1\r\n\r\n").partition(b"\r\n\r\n")[2]
    assert json.loads(body)["requests"] == {"a": [None, None, 1.5]}
    assert b"NaN" not in body


def test_a_failing_sample_does_not_end_the_plane(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Looking at loops may fail by what a program has made of them."""

    def fail() -> None:
        raise ZeroDivisionError("strange loops")

    with AdminServer(tmp_path / "a.sock", leak_interval=0.02) as server:
        monkeypatch.setattr(server._documents._guard_table, "ask", fail)
        wait_until(lambda: "strange loops" in caplog.text)
        assert AdminClient(server.address).get("/livez")["alive"]


def test_clients_that_leave_do_not_pile_up_threads(
    tmp_path: Path, desk: SlowDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An errand whose client has left still has its thread: so many at once, and the next is told."""
    monkeypatch.setattr(server_module, "MAX_ERRANDS", 3)
    before = threading.active_count()
    with opened(tmp_path, desk) as server:
        for number in range(3):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(server.address)
                sock.sendall(b"GET /slow HTTP/1.1\r\n\r\n")
                wait_until(lambda at=number: desk.running > at)
        for _ in range(20):
            assert b" 503 " in raw(server, b"GET /slow HTTP/1.1\r\n\r\n")
        assert threading.active_count() <= before + 1 + 3
        assert b" 200 " in raw(server, b"GET /livez HTTP/1.1\r\n\r\n")
        desk.may_go.set()
        wait_until(lambda: threading.active_count() == before + 1)
        assert b'{"done":true}' in raw(server, b"GET /slow HTTP/1.1\r\n\r\n")


def test_who_floods_while_waiting_is_let_go(
    tmp_path: Path, desk: SlowDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that nobody asked for are not read for ever."""
    monkeypatch.setattr(server_module, "LINGER_BYTES", 100_000)
    with opened(tmp_path, desk) as server, socket.socket(socket.AF_UNIX) as sock:
        sock.connect(server.address)
        sock.sendall(b"GET /slow HTTP/1.1\r\n\r\n")
        wait_until(lambda: desk.running == 1)
        with pytest.raises(OSError, match=r"Broken pipe|reset"):
            for _ in range(1000):
                sock.sendall(b"x" * 10_000)


def test_a_refusal_reaches_who_is_still_sending() -> None:
    """A close with unread bytes would be a reset, and the refusal lost with it."""
    with AdminServer("127.0.0.1:0", leak_interval=0) as server:
        port = int(server.address.rpartition(":")[2])
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", port)) as sock:
                head = b"POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 600000\r\n\r\n"
                sock.sendall(head + b"x" * 300_000)
                time.sleep(0.01)
                sock.sendall(b"x" * 300_000)
                sock.settimeout(5)
                assert sock.recv(65536).startswith(b"HTTP/1.1 413 ")
        wait_until(lambda: server.statistics().connections == 0)


def test_a_reply_is_taken_at_some_rate_or_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that takes a little now and then would hold its place for days."""
    monkeypatch.setattr(server_module, "WRITE_TIMEOUT_S", 0.3)
    monkeypatch.setattr(server_module, "LEAST_RATE", 100_000_000)
    huge: dict[str, str] = {"a": "x" * 30_000_000}
    with opened(tmp_path, requests=lambda: huge) as server, socket.socket(socket.AF_UNIX) as sock:
        sock.connect(server.address)
        sock.sendall(b"GET /v1/statistics HTTP/1.1\r\n\r\n")
        wait_until(lambda: server.statistics().answered == 1)
        until = time.monotonic() + 3
        while server.statistics().connections and time.monotonic() < until:
            sock.recv(1000)
            time.sleep(0.02)
        assert server.statistics().connections == 0


def test_desks_are_closed_when_the_plane_ends(
    tmp_path: Path, desk: SlowDesk, caplog: pytest.LogCaptureFixture
) -> None:
    """Once each, also where one before fails."""

    class Failing(SlowDesk):
        prefixes = ("/failing",)

        def close(self) -> None:
            raise ZeroDivisionError("cannot close")

    server = opened(tmp_path, Failing(), desk)
    assert "/slow" in server.paths
    with server:
        assert desk.closed == 0
    server.stop()
    assert desk.closed == 1
    assert "Failing could not be closed" in caplog.text


def test_a_desk_that_hangs_does_not_hold_up_the_end(
    tmp_path: Path,
    desk: SlowDesk,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A program that ends has waited for us a moment, and no more."""
    monkeypatch.setattr(server_module, "CLOSE_S", 0.1)
    desk.close_takes = lambda: desk.may_go.wait(10)
    server = opened(tmp_path, desk).start()
    began = time.monotonic()
    with caplog.at_level(logging.WARNING, "backstay.admin"):
        server.stop()
    assert time.monotonic() - began < 3
    assert "did not close within" in caplog.text


def test_the_desks_of_the_plane_let_go_of_what_they_hold(tmp_path: Path) -> None:
    """Profiles and looks that were kept for the pages are gone, and nothing more is kept."""
    server = opened(tmp_path)
    with server:
        client = AdminClient(server.address)
        assert client.get("/v1/saved/make?kind=task")["id"] == "1"
        assert client.get("/v1/tasks")["tasks"] == 0
        pages = server._desks[-1]
        assert pages._shelf._kept  # type: ignore[attr-defined]
    assert not pages._shelf._kept  # type: ignore[attr-defined]
    assert pages._surveyor._last is None  # type: ignore[attr-defined]
    assert pages._shelf.make("task", {}, lambda seconds: False).status == 503  # type: ignore[attr-defined]
