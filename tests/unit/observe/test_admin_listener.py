"""Opening the admin socket: privately, from nobody, and cleaned up after."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from pathlib import Path

import pytest

from backstay.errors import UsageError
from backstay.observe.admin import _listener
from backstay.observe.admin._listener import open_listener
from backstay.observe.target import connectable, peer_of, remove_dead_sockets


@pytest.fixture(autouse=True)
def _runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


def leave_dead_socket(path: Path) -> None:
    """Make the file that a killed process leaves behind."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()


def test_the_default_place_is_private(tmp_path: Path) -> None:
    """Socket 0600 in a directory 0700, named by pid, gone afterwards."""
    listener = open_listener(None)
    path = tmp_path / "backstay" / f"{os.getpid()}.sock"
    assert listener.address == str(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    listener.close()
    assert not path.exists()
    listener.close()


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    """A socket that nobody listens at is in nobody's use."""
    leave_dead_socket(tmp_path / "a.sock")
    open_listener(tmp_path / "a.sock").close()


def test_a_living_socket_is_never_stolen(tmp_path: Path) -> None:
    """The error says who is there, and they go on undisturbed."""
    first = open_listener(tmp_path / "a.sock")
    with pytest.raises(UsageError, match=f"is in use by process {os.getpid()}"):
        open_listener(tmp_path / "a.sock")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "a.sock"))
    first.close()


def test_a_socket_replaced_by_another_is_left_alone(tmp_path: Path) -> None:
    """Closing removes our own file and never a successor's."""
    first = open_listener(tmp_path / "a.sock")
    (tmp_path / "a.sock").unlink()
    second = open_listener(tmp_path / "a.sock")
    first.close()
    assert (tmp_path / "a.sock").exists()
    second.close()


def test_a_file_in_the_way_is_kept(tmp_path: Path) -> None:
    """Nobody's file is removed for our sake."""
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="exists and is not a socket"):
        open_listener(tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_deep_path_works(tmp_path: Path) -> None:
    """A path longer than a socket address can hold is reached through its directory."""
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    listener = open_listener(deep / "a.sock")
    with socket.socket(socket.AF_UNIX) as client, connectable(deep / "a.sock") as address:
        client.connect(address)
        assert peer_of(client) == (os.getpid(), os.geteuid())
    listener.close()
    with (
        pytest.raises(UsageError, match="bytes and may have"),
        connectable(tmp_path / ("n" * 120)),
    ):
        pass


def test_directories_of_others_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may write to the directory may replace the socket."""
    with pytest.raises(UsageError, match="cannot be used"):
        open_listener(tmp_path / "none" / "a.sock")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"cannot be used|is not a directory"):
        open_listener(tmp_path / "file" / "a.sock")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(UsageError, match="everybody may write"):
        open_listener(tmp_path / "open" / "a.sock")
    (tmp_path / "open").chmod(0o1777)
    open_listener(tmp_path / "open" / "a.sock").close()
    os.chown(tmp_path / "open", 12345, -1) if os.geteuid() == 0 else pytest.skip("needs root")
    with pytest.raises(UsageError, match="belongs to user 12345"):
        open_listener(tmp_path / "open" / "a.sock")


def test_a_locked_directory_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may lock a shared directory; that must not hang a start."""
    monkeypatch.setattr(_listener, "_LOCK_TRIES", 2)
    monkeypatch.setattr(_listener, "_LOCK_PAUSE_S", 0.0)
    handle = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="has been locked by another process"):
            open_listener(tmp_path / "a.sock")
    finally:
        os.close(handle)


def test_dead_sockets_are_swept_and_others_kept(tmp_path: Path) -> None:
    """Only `<pid>.sock` of dead processes that nobody listens at go."""
    leave_dead_socket(tmp_path / "999999999.sock")
    leave_dead_socket(tmp_path / f"{os.getpid()}.sock")
    leave_dead_socket(tmp_path / "named.sock")
    (tmp_path / "999999998.sock").touch()
    living = open_listener(tmp_path / "999999997.sock")
    assert remove_dead_sockets(tmp_path) == [tmp_path / "999999999.sock"]
    assert living.path is not None
    assert living.path.exists()
    living.close()


def test_loopback_is_allowed_and_nothing_else() -> None:
    """TCP only where nobody from outside can come."""
    for where in ("127.0.0.1:0", "http://localhost:0", "127.1.2.3:0"):
        listener = open_listener(where)
        assert listener.address.startswith("http://127.")
        assert listener.path is None
        listener.close()
    for where in ("0.0.0.0:1", "http://example.com:80", "[::]:1"):
        with pytest.raises(UsageError, match="reachable from outside"):
            open_listener(where)
    for where in ("127.0.0.1:x", "https://127.0.0.1:1", "http://127.0.0.1:1/path", ":1"):
        with pytest.raises(UsageError, match="neither a socket path nor an address"):
            open_listener(where)


def test_a_taken_loopback_port_is_named() -> None:
    """The error repeats the address and says what to do."""
    first = open_listener("127.0.0.1:0")
    with pytest.raises(UsageError, match="choose a free port"):
        open_listener(first.address)
    first.close()


def test_peers_are_known_on_unix_sockets_only() -> None:
    """A TCP client has no user."""
    with socket.socket(socket.AF_INET) as sock:
        assert peer_of(sock) is None
