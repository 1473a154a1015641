"""The guard of an application does its work on every ASGI server, not on uvicorn alone."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asgi_servers import GRANIAN, HYPERCORN, UVICORN, ask, first_line

Start = Callable[..., Any]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

GUARDED = """
from web import app as bare
from backstay.integrations.asgi import guard

app = guard(bare, timeout=1.0)
"""

SERVERS = {"uvicorn": UVICORN, "hypercorn": HYPERCORN, "granian": GRANIAN}


@pytest.mark.parametrize("server", SERVERS)
def test_a_deadline_answers_504_and_cancels_the_handler(
    start: Start, tmp_path: Path, server: str
) -> None:
    """Its own second, or the time that the caller names."""
    (tmp_path / "guarded.py").write_text(GUARDED)
    words = ["guarded:app" if word == "web:app" else word for word in SERVERS[server]]
    child = start(*words)
    child.wait_for("started")
    assert " 504" in first_line(ask(child, "/30"))
    child.wait_for("cancelled")
    with socket.create_connection(("127.0.0.1", child.port), timeout=10) as sock:
        sock.sendall(b"GET /0 HTTP/1.1\r\nhost: x\r\nbackstay-timeout-ms: 0\r\n\r\n")
        assert b" 504" in sock.recv(1000).split(b"\r\n")[0], "spent on arrival"
    assert child.notes.count("at /0") == 0, "a request that is late already does not begin"


@pytest.mark.parametrize("server", SERVERS)
def test_a_client_that_leaves_ends_its_request(start: Start, tmp_path: Path, server: str) -> None:
    """The handler is cancelled well before its deadline."""
    (tmp_path / "guarded.py").write_text(GUARDED.replace("timeout=1.0", "timeout=30.0"))
    words = ["guarded:app" if word == "web:app" else word for word in SERVERS[server]]
    child = start(*words)
    child.wait_for("started")
    sock = ask(child, "/30")
    child.wait_for("at /30")
    sock.close()
    child.wait_for("cancelled", 10)
