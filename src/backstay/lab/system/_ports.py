"""Free loopback ports, taken below the range that the kernel gives to outgoing connections."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

from backstay.errors import UsageError

__all__ = ["allocate_ports"]

# Linux hands out 32768-60999 to clients (ip_local_port_range). A port from
# there could be taken by a connection between our look and the server's bind.
_FIRST, _LAST = 18_000, 31_999


def allocate_ports(names: Sequence[str], start: int | None = None) -> dict[str, int]:
    """Find one free loopback port per name.

    Args:
        names: who needs one.
        start: where to look first; derived from the pid when None, so that two
            labs on one machine begin at different places.

    Raises:
        UsageError: the whole range is taken.
    """
    span = _LAST - _FIRST + 1
    offset = (os.getpid() * 97 if start is None else start - _FIRST) % span
    ports: dict[str, int] = {}
    for step in range(span):
        if len(ports) == len(names):
            return ports
        port = _FIRST + (offset + step) % span
        if _is_free(port):
            ports[names[len(ports)]] = port
    raise UsageError(
        f"no {len(names)} free loopback ports between {_FIRST} and {_LAST}: stop other servers and retry"
    )


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
