"""Binds the application's port, and finds out who holds it when it is taken."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from backstay.errors import UsageError

__all__ = ["bind", "port_in_use", "url_of"]


def bind(host: str, port: int) -> socket.socket:
    """Return a socket bound to the address, not yet listening.

    Binding before the application starts means that a taken port costs nothing;
    listening only afterwards means that nobody waits for a start-up in the queue.

    Raises:
        UsageError: the host is unknown or not ours, or the port is taken or reserved.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--host {host!r} is not a host of this machine ({error})") from error
    # With the protocol named: asyncio sets TCP_NODELAY only on what says that it is TCP, and what
    # is accepted says what the listener does. Without, small answers wait for 40 ms.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise port_in_use(host, port) from error
        if error.errno in (errno.EACCES, errno.EPERM):
            raise UsageError(
                f"port {port} is reserved for root: choose one above 1023, or grant "
                f"CAP_NET_BIND_SERVICE"
            ) from error
        raise UsageError(
            f"cannot listen on {host}:{port} ({error.strerror}): is it an address of this machine?"
        ) from error
    except BaseException:
        sock.close()
        raise
    sock.set_inheritable(False)
    return sock


def port_in_use(host: str, port: int) -> UsageError:
    """Return the error that says who holds the port."""
    holder = _holder(port)
    cure = "stop it, or choose another port (--port 0 takes any free one)"
    who = f" by {holder}" if holder else " (by a process that we may not look into)"
    return UsageError(f"port {port} on {host} is in use{who}: {cure}")


def url_of(sock: socket.socket) -> str:
    """Return the URL of a bound socket."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _holder(port: int) -> str:
    inodes = set(_listening_inodes(port))
    if not inodes:
        return ""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            for handle in (process / "fd").iterdir():
                if os.readlink(handle) in inodes:
                    raw = (process / "cmdline").read_bytes()
                    command = raw.replace(b"\0", b" ").decode(errors="replace").strip()
                    return f"process {process.name} ({command[:80]})"
        except OSError:
            continue  # another user's process, or one that has just ended
    return ""


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue  # not Linux
        for line in lines:
            fields = line.split()
            local, state, inode = fields[1], fields[3], fields[9]
            if state == "0A" and int(local.rpartition(":")[2], 16) == port:
                yield f"socket:[{inode}]"
