"""The ASGI servers there are, as command lines for `web:app`, and how to ask them."""

from __future__ import annotations

import socket
import time
from typing import Any

__all__ = ["GRANIAN", "HYPERCORN", "OURS", "UVICORN", "ask", "first_line"]

UVICORN = ("-m", "uvicorn", "web:app", "--port", "{port}", "--lifespan", "on")
HYPERCORN = ("-m", "hypercorn", "web:app", "--bind", "127.0.0.1:{port}")
GRANIAN = (
    "-m", "granian", "web:app", "--interface", "asgi", "--port", "{port}", "--workers", "1",
    "--workers-kill-timeout", "1",
)  # fmt: skip
OURS = ("-m", "backstay", "run", "web:app", "--port", "{port}", "--lame-duck", "0", "--grace", "4")


def ask(child: Any, path: str) -> socket.socket:
    """Send a request; the connection, from which nobody has read."""
    until = time.monotonic() + 15
    while True:
        try:
            sock = socket.create_connection(("127.0.0.1", child.port), timeout=15)
            break
        except OSError:
            assert time.monotonic() < until, child.log
            time.sleep(0.05)
    sock.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    return sock


def first_line(sock: socket.socket, seconds: float = 10.0) -> str:
    """The status line of the answer; "closed" or "silence" without one."""
    sock.settimeout(seconds)
    try:
        return sock.recv(1000).split(b"\r\n")[0].decode() or "closed"
    except TimeoutError:
        return "silence"
    except ConnectionError:
        return "closed"
    finally:
        sock.close()
