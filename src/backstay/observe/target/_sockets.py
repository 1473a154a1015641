"""Unix sockets by their path: long paths, who is at the other end, and which are dead."""

from __future__ import annotations

import os
import socket
import stat
import struct
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from backstay.errors import UsageError

__all__ = ["connectable", "is_dead_socket", "peer_of", "remove_dead_sockets"]

#: Bytes a unix socket address may have on Linux (108 with the closing NUL) and, one less, elsewhere.
_MAX_ADDRESS_BYTES = 103

#: Dead sockets looked at in one start; the rest waits for the next one.
_MAX_SWEEP = 200


@contextmanager
def connectable(path: Path) -> Generator[str]:
    """Yield an address that stands for `path`, however long the path is.

    A unix socket's address holds about a hundred bytes and a checkout may sit
    deeper than that; Linux lets us go through the open directory instead.
    """
    text = str(path)
    if len(os.fsencode(text)) <= _MAX_ADDRESS_BYTES:
        yield text
        return
    short = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        through = f"/proc/self/fd/{short}/{path.name}"
        if len(os.fsencode(through)) > _MAX_ADDRESS_BYTES or not os.path.isdir("/proc/self/fd"):
            raise UsageError(
                f"the socket path {text} has {len(os.fsencode(text))} bytes and may have "
                f"{_MAX_ADDRESS_BYTES}: choose a shorter one"
            )
        yield through
    finally:
        os.close(short)


def peer_of(connection: socket.socket) -> tuple[int, int] | None:
    """Return (pid, uid) of the process at the other end of a unix socket, where the system tells."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None or connection.family != socket.AF_UNIX:
        return None
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, option, struct.calcsize("3i"))
    except OSError:
        return None
    pid, uid, _gid = struct.unpack("3i", raw)
    return pid, uid


def remove_dead_sockets(directory: Path) -> list[Path]:
    """Remove the sockets in `directory` whose process has died without cleaning up.

    Only files named `<pid>.sock` that are sockets, whose pid no longer exists
    and that refuse a connection: one that answers is never touched, whatever
    its name (another pid namespace may share the directory).
    """
    removed: list[Path] = []
    for path in sorted(directory.glob("*.sock"))[:_MAX_SWEEP]:
        if path.stem.isdigit() and not _process_exists(int(path.stem)) and is_dead_socket(path):
            try:
                path.unlink()
            except OSError:
                continue  # somebody else was faster, which is as good
            removed.append(path)
    return removed


def is_dead_socket(path: Path) -> bool:
    """Tell whether `path` is a socket that nobody listens at any more."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return False
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe,
            connectable(path) as address,
        ):
            probe.connect(address)
    except ConnectionRefusedError:
        return True
    except OSError:
        return False  # full backlog, no permission, already gone: not ours to judge dead
    return False


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OverflowError, OSError):
        return True
    return True
