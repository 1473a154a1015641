"""What ASGI servers do at SIGTERM, and what `backstay run` does in their place.

Each defect is shown with the stock server first: when a version no longer has it, the test says so.
"""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from asgi_servers import GRANIAN, HYPERCORN, OURS, UVICORN, ask, first_line

Start = Callable[..., Any]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


def in_a_request(start: Start, words: tuple[str, ...], path: str, **env: str) -> tuple[Any, Any]:
    """Start a server, and send it a request that takes long."""
    child = start(*words, **env)
    child.wait_for("started")
    sock = ask(child, path)
    child.wait_for(f"at {path}")
    return child, sock


def test_uvicorn_waits_without_limit_for_a_lifespan_that_hangs(start: Start) -> None:
    """Stock: alive until somebody kills it. Ours: gone within the grace, with what hangs named."""
    stock = start(*UVICORN, HANG="1")
    stock.wait_for("started")
    time.sleep(0.3)
    stock.popen.send_signal(signal.SIGTERM)
    assert stock.ended_within(6) is None
    assert stock.notes[-1] == "lifespan shutdown"
    ours = start(*OURS, HANG="1")
    ours.wait_for("listening on")
    ours.popen.send_signal(signal.SIGTERM)
    assert ours.ended_within(6) is not None
    assert "shutdown hook did not end within the grace" in ours.log


def test_uvicorn_waits_without_limit_for_a_request(start: Start) -> None:
    """Stock: as long as it takes. Ours: the request is cancelled at the end of the grace, and named."""
    stock, sock = in_a_request(start, UVICORN, "/30")
    stock.popen.send_signal(signal.SIGTERM)
    assert stock.ended_within(6) is None
    sock.close()
    ours, sock = in_a_request(start, (*OURS, "--timeout", "0"), "/30")
    ours.popen.send_signal(signal.SIGTERM)
    assert ours.ended_within(6) == 0
    sock.close()
    assert ours.notes[-3:] == ["cancelled", "finally", "lifespan shutdown"]
    assert "request cut" in ours.log


def test_uvicorn_ends_by_the_signal_after_a_stop_in_order(start: Start) -> None:
    """Stock: as if it had been killed. Ours: 0, as supervisors expect it of a stop in order."""
    stock = start(*UVICORN)
    stock.wait_for("started")
    time.sleep(0.3)
    stock.popen.send_signal(signal.SIGTERM)
    assert stock.ended_within(10) == -signal.SIGTERM
    ours = start(*OURS)
    ours.wait_for("listening on")
    ours.popen.send_signal(signal.SIGTERM)
    assert ours.ended_within(10) == 0


def test_granian_kills_its_worker_without_a_word_to_the_application(start: Start) -> None:
    """Stock: no cancel, no `finally`, no shutdown. Ours: all three, within the grace."""
    stock, sock = in_a_request(start, GRANIAN, "/30")
    stock.popen.send_signal(signal.SIGTERM)
    assert stock.ended_within(15) is not None
    sock.close()
    assert stock.notes == ["started", "at /30"]
    ours, sock = in_a_request(start, (*OURS, "--timeout", "0"), "/30")
    ours.popen.send_signal(signal.SIGTERM)
    assert ours.ended_within(6) is not None
    sock.close()
    assert ours.notes[-3:] == ["cancelled", "finally", "lifespan shutdown"]


def test_hypercorn_keeps_its_door_open_to_nobody(start: Start) -> None:
    """Stock: a connection that comes while it drains is taken, and never answered. Ours: it is refused at once."""
    stock, slow = in_a_request(start, HYPERCORN, "/2")
    stock.popen.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert first_line(ask(stock, "/0")) in {"closed", "silence"}
    slow.close()
    ours, slow = in_a_request(start, OURS, "/2")
    ours.popen.send_signal(signal.SIGTERM)
    ours.wait_for("stops accepting")
    time.sleep(0.3)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", ours.port), timeout=5)
    assert first_line(slow) == "HTTP/1.1 200 OK", "what was accepted is answered"


def test_hypercorn_cuts_requests_after_three_seconds(start: Start) -> None:
    """Stock: a request of five seconds gets no 200. Ours: it does, as long as the grace lasts."""
    stock, sock = in_a_request(start, HYPERCORN, "/5")
    stock.popen.send_signal(signal.SIGTERM)
    assert first_line(sock) != "HTTP/1.1 200 OK"
    ours, sock = in_a_request(start, (*OURS[:-1], "9"), "/5")
    ours.popen.send_signal(signal.SIGTERM)
    assert first_line(sock) == "HTTP/1.1 200 OK"
