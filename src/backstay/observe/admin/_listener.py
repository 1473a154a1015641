"""The listening end of the admin plane: opened privately, taken from nobody, removed when done."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from backstay.errors import UsageError
from backstay.observe.target import (
    connectable,
    default_directory,
    default_socket,
    is_dead_socket,
    peer_of,
    private_directory,
    remove_dead_sockets,
)

__all__ = ["Listener", "open_listener"]

#: Connections the kernel may hold for us; `backstay top` and a scraper need two.
_BACKLOG = 16

#: Opening takes microseconds under the lock, so two seconds are only spent on mischief.
_LOCK_TRIES, _LOCK_PAUSE_S = 100, 0.02


class Listener:
    """A listening socket together with the way to clean up after it."""

    def __init__(self, sock: socket.socket, path: Path | None) -> None:
        """Own `sock`; `path` is its file, or None for a loopback address."""
        self.sock = sock
        self.path = path
        self._pid = os.getpid()
        self._inode = None if path is None else path.stat().st_ino

    @property
    def address(self) -> str:
        """What to type as TARGET: the socket's path, or the URL of a loopback address."""
        if self.path is not None:
            return str(self.path)
        host, port = self.sock.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def beyond_loopback(self) -> bool:
        """Whether other machines can reach it."""
        if self.path is not None:
            return False
        host = str(self.sock.getsockname()[0])
        return not (host == "::1" or host.startswith("127."))

    def close(self) -> None:
        """Stop listening and remove the socket's file, if it is still ours."""
        self.sock.close()
        if self.path is None or os.getpid() != self._pid:  # a forked child owns nothing
            return
        try:
            if self.path.lstat().st_ino == self._inode:
                self.path.unlink()
        except FileNotFoundError:
            pass


def open_listener(where: str | os.PathLike[str] | None, *, anywhere: bool = False) -> Listener:
    """Open the admin plane's listening socket.

    Args:
        where: None for `<runtime directory>/<pid>.sock`, a path, or
            `HOST:PORT` / `http://HOST:PORT` with a loopback host.
        anywhere: whether the host may be another one as well.

    Raises:
        UsageError: the place is not private, is taken by a living process, is
            not ours to use, or is not on loopback.
    """
    if where is None:
        remove_dead_sockets(private_directory(default_directory()))
        return _open_unix(default_socket(os.getpid()))
    text = os.fspath(where)
    if text.startswith(("http://", "https://")) or ("/" not in text and ":" in text):
        return _open_address(text, anywhere)
    path = Path(text).absolute()
    _check_parent(path)
    return _open_unix(path)


def _open_unix(path: Path) -> Listener:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        with _only_one_at_a_time(path.parent):
            _clear_the_place(path)
            # On Linux the file is born with the mode of the socket, so there is no
            # moment at which others could connect; chmod makes sure elsewhere.
            os.fchmod(sock.fileno(), 0o600)
            with connectable(path) as address:
                sock.bind(address)
            path.chmod(0o600)
            sock.listen(_BACKLOG)
        return Listener(sock, path)
    except OSError as error:
        sock.close()
        raise UsageError(
            f"cannot open the admin socket {path} ({error.strerror or error}): "
            f"choose another place with --admin SOCKET"
        ) from error
    except BaseException:
        sock.close()
        raise


def _clear_the_place(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise UsageError(
            f"{path} exists and is not a socket: move it away, or choose another --admin SOCKET"
        )
    if not is_dead_socket(path):
        raise UsageError(
            f"the admin socket {path} is in use{_holder(path)}: "
            f"stop that process, or choose another --admin SOCKET"
        )
    path.unlink()


def _holder(path: Path) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            with connectable(path) as address:
                probe.connect(address)
        except OSError:
            return ""
        peer = peer_of(probe)
    return "" if peer is None else f" by process {peer[0]}"


@contextmanager
def _only_one_at_a_time(directory: Path) -> Generator[None]:
    """Hold the directory's lock while a stale socket is looked at, removed and replaced.

    Without it two starting processes could both find the stale file, and the
    slower one would remove the faster one's living socket.
    """
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for _ in range(_LOCK_TRIES):
            with suppress(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(_LOCK_PAUSE_S)
        else:  # anybody may lock /tmp, so never wait for it without end
            raise UsageError(
                f"the directory {directory} has been locked by another process for "
                f"{_LOCK_TRIES * _LOCK_PAUSE_S:g} s: choose another place with --admin SOCKET"
            )
        yield
    finally:
        os.close(handle)


def _check_parent(path: Path) -> None:
    try:
        parent = path.parent.stat()
    except OSError as error:
        raise UsageError(
            f"the directory of the admin socket {path} cannot be used ({error.strerror}): make it first"
        ) from error
    if not stat.S_ISDIR(parent.st_mode):
        raise UsageError(f"{path.parent} is not a directory: choose another --admin SOCKET")
    if parent.st_uid not in (os.geteuid(), 0):
        raise UsageError(
            f"the directory {path.parent} belongs to user {parent.st_uid}, who could replace the "
            f"admin socket: choose a directory of your own"
        )
    if parent.st_mode & stat.S_IWOTH and not parent.st_mode & stat.S_ISVTX:
        raise UsageError(
            f"everybody may write to the directory {path.parent} and so replace the admin socket: "
            f"run chmod o-w {path.parent}, or choose another directory"
        )


def _open_address(text: str, anywhere: bool) -> Listener:
    parts = urlsplit(text if "://" in text else f"//{text}")
    try:
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if port is None or not host or parts.scheme == "https" or parts.path not in ("", "/"):
        raise UsageError(
            f"--admin {text!r} is neither a socket path nor an address like 127.0.0.1:9400"
        )
    addresses = {"localhost": "127.0.0.1", "::1": "::1"}
    address = addresses.get(host, host)
    if not anywhere and address != "::1" and not address.startswith("127."):
        raise UsageError(
            f"--admin {text!r} is reachable from outside this machine: without a token the admin "
            f"plane listens on a unix socket or on loopback (127.0.0.1, ::1) only"
        )
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        cure = "choose a free port" if error.errno == errno.EADDRINUSE else "choose another address"
        raise UsageError(f"cannot listen at --admin {text!r} ({error.strerror}): {cure}") from error
    return Listener(sock, None)
