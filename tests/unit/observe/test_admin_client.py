"""Asking for documents, and every way in which there is nobody to ask."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from backstay.errors import TargetGone, UsageError
from backstay.observe.admin import AdminServer
from backstay.observe.target import (
    AdminClient,
    _client,
    default_directory,
    default_socket,
    private_directory,
)


@pytest.fixture(autouse=True)
def _runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


@pytest.fixture
def mute(tmp_path: Path) -> Iterator[Callable[[bytes | None], str]]:
    """Provide a server that answers each request with given bytes, or not at all."""
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(tmp_path / "fake.sock"))
    sock.listen()
    sock.settimeout(5)

    def answer(reply: bytes | None) -> str:
        def serve() -> None:
            with suppress(OSError):  # the client may leave early
                connection, _ = sock.accept()
                with connection:
                    connection.recv(4096)
                    if reply is None:
                        connection.recv(4096)  # until the client gives up
                    else:
                        connection.sendall(reply)

        threading.Thread(target=serve, daemon=True).start()
        return str(tmp_path / "fake.sock")

    yield answer
    sock.close()


def gone(target: object, path: str = "/livez", timeout: float = 5.0) -> str:
    """Return the message of the error, which must be one line."""
    with pytest.raises(TargetGone) as caught:
        AdminClient(str(target), timeout=timeout).get(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_process_is_found_by_pid_path_and_url() -> None:
    """The three ways to name a target."""
    with AdminServer(leak_interval=0) as server:
        assert AdminClient(os.getpid()).get("/livez")["alive"]
        assert AdminClient(str(os.getpid())).get("/livez")["alive"]
        assert AdminClient(Path(server.address)).get("/livez")["alive"]
        assert server.address in repr(AdminClient(server.address))
    with AdminServer("127.0.0.1:0", leak_interval=0) as server:
        assert AdminClient(server.address).get("/readyz") == {"ready": True}


def test_not_ready_is_an_answer() -> None:
    """503 of a probe is a document and not a missing target."""
    with AdminServer(leak_interval=0, ready=lambda: False):
        assert AdminClient(os.getpid()).get("/readyz") == {"ready": False}


def test_no_such_process_or_no_plane() -> None:
    """A dead pid and a process without a plane are told apart."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert f"no process with pid {ended.pid}" in gone(ended.pid)
    assert "no process with pid 99999999999" in gone("99999999999")
    assert f"process {os.getpid()} runs without an admin plane" in gone(os.getpid())


def test_a_stale_socket_is_named_and_removed() -> None:
    """In our own directory the leftover of a dead process is cleaned up on the way."""
    private_directory(default_directory())
    path = default_socket(999999999)
    for target in (path, 999999999):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))
        assert f"nobody listens at the stale socket {path}: it was removed" in gone(target)
        assert not path.exists()


def test_a_stale_socket_elsewhere_is_kept(tmp_path: Path) -> None:
    """A path that somebody chose is theirs to clean."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "x.sock"))
    assert "remove it, or start the process again" in gone(tmp_path / "x.sock")
    assert (tmp_path / "x.sock").exists()


def test_paths_that_are_no_sockets(tmp_path: Path) -> None:
    """A typing slip gets the list of what a target may be."""
    (tmp_path / "file").touch()
    assert "no socket at" in gone(tmp_path / "none")
    assert "TARGET is a pid" in gone("wörd")
    assert "is not a socket" in gone(tmp_path / "file")


def test_urls_that_lead_nowhere() -> None:
    """A closed port is a missing target, another scheme is a slip."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert f"nothing answers at http://127.0.0.1:{port}" in gone(f"http://127.0.0.1:{port}")
    for url in ("https://127.0.0.1:1", "http://127.0.0.1:x", "http://", "http://127.0.0.1:1/v1"):
        with pytest.raises(UsageError, match="is not the URL of an admin plane"):
            AdminClient(url).get("/livez")


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (b"", "is not a Backstay endpoint"),
        (b"SSH-2.0-OpenSSH\r\n", "is not a Backstay endpoint"),
        (b"HTTP/1.1 200 OK\r\nServer: nginx\r\n\r\n{}", "is not a Backstay endpoint"),
        (b"HTTP/1.1 200 OK\r\nServer: backstay-admin\r\n\r\n{", "breaks off after 1 bytes"),
        (None, "no answer within 0.2 s"),
    ],
)
def test_foreign_and_mute_endpoints(
    mute: Callable[[bytes | None], str], reply: bytes | None, words: str
) -> None:
    """Something else listens there, or nothing comes back."""
    assert words in gone(mute(reply), timeout=0.2)


def test_an_endless_answer_is_cut(
    mute: Callable[[bytes | None], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer of ours is that long."""
    monkeypatch.setattr(_client, "_MAX_REPLY_BYTES", 1000)
    assert "has more than 1,000 bytes" in gone(mute(b"x" * 5000))


def test_a_file_comes_as_it_is(mute: Callable[[bytes | None], str]) -> None:
    """The body byte for byte; cut short it is a missing target, refused it is a slip with the reason."""
    head = b"HTTP/1.1 200 OK\r\nServer: backstay-admin\r\nContent-Length: 4\r\n\r\n"
    assert (
        AdminClient(mute(head + b"\x1f\x8b\x00\xff")).fetch("/debug/pprof/task")
        == b"\x1f\x8b\x00\xff"
    )
    with pytest.raises(TargetGone, match="breaks off after 2 bytes"):
        AdminClient(mute(head + b"\x1f\x8b")).fetch("/debug/pprof/task")
    refused = b"HTTP/1.1 409 Conflict\r\nServer: backstay-admin\r\n\r\ntry again soon\n"
    with pytest.raises(UsageError, match="refuses /debug/pprof/task: try again soon"):
        AdminClient(mute(refused)).fetch("/debug/pprof/task")


def test_a_refused_path_is_a_slip() -> None:
    """The plane is there and says what it has."""
    with (
        AdminServer(leak_interval=0),
        pytest.raises(UsageError, match="refuses /v1/none: no document"),
    ):
        AdminClient(os.getpid()).get("/v1/none")


def test_no_permission_names_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's socket: whose eyes are needed is said."""
    client = AdminClient(1)
    assert "or as root" in client._why_not(tmp_path, PermissionError(13, "Permission denied"), None)
    assert "no answer within" in client._why_not(tmp_path, BlockingIOError(), None)
    assert "has the process ended" in client._why_not(tmp_path, OSError(5, "odd"), None)


def test_a_broken_connection_is_a_missing_target(
    mute: Callable[[bytes | None], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process may die between question and answer."""

    def reset(*_: object) -> bytes:
        raise ConnectionResetError(104, "Connection reset by peer")

    monkeypatch.setattr(_client, "_read_all", reset)
    assert "the connection broke" in gone(mute(b"x"))


def test_a_stranger_process_counts_as_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """No permission to signal it means that it is there."""

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert _client._exists(1)
