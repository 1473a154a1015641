"""A plane with something to tell in each of its documents, and a client that sends whatever it likes."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
import struct
import threading
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from backstay import Scope, install
from backstay.guard import Breaker, Bulkhead
from backstay.observe.admin import AdminServer
from backstay.observe.admin import _server as server_module
from backstay.observe.profile import _leaks, _main_thread
from backstay.observe.recorder import Recorder

#: Seconds after which an answer counts as a hang: far more than any document of so small a process.
PATIENCE_S = 20.0

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) [A-Z][A-Za-z ]*")


class Listening(logging.Handler):
    """Keeps what the plane writes to the log; garbage from outside is no reason to write any."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(logging.Formatter().format(record))


class Plane:
    """A plane that is open, and what is said to it."""

    def __init__(self, server: AdminServer, log: Listening) -> None:
        self.server = server
        self.log = log

    def connect(self) -> socket.socket:
        """Return a connection to it."""
        address = self.server.address
        if address.startswith("http://"):
            sock = socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])))
        else:
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(address)
        sock.settimeout(PATIENCE_S)
        return sock

    def talk(self, pieces: Iterable[bytes], ending: str = "wait") -> bytes | None:
        """Send pieces, end as told, and return all that comes back; None where nobody listens to it.

        Args:
            pieces: sent one by one.
            ending: "wait" for the answer, "half" closes what is sent, "leave" closes at once, "reset"
                does so rudely.
        """
        with self.connect() as sock:
            with suppress(OSError):  # refused while we were talking
                for piece in pieces:
                    sock.sendall(piece)
                if ending == "half":
                    sock.shutdown(socket.SHUT_WR)
            if ending == "reset":
                with suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return None if ending in ("leave", "reset") else received(sock)

    def get(self, path: str, *headers: str) -> tuple[int, bytes]:
        """Ask as a well-behaved client."""
        head = "\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", *headers, "", ""])
        answer = self.talk([head.encode("latin-1")])
        assert answer
        return checked(answer)

    def is_well(self) -> None:
        """Make sure that it answers, and that the log is quiet."""
        began = time.monotonic()
        status, body = self.get("/livez")
        assert (status, json.loads(body)["alive"]) == (200, True)
        assert time.monotonic() - began < PATIENCE_S / 2
        assert self.log.told == []

    def is_at_rest(self, threads: int) -> None:
        """Wait until nothing is left of those who have asked."""
        until = time.monotonic() + 60
        while self.server.statistics().connections or threading.active_count() > threads:
            assert time.monotonic() < until, [one.name for one in threading.enumerate()]
            time.sleep(0.02)


def received(sock: socket.socket) -> bytes:
    """Return all that comes until the other side closes."""
    chunks: list[bytes] = []
    until = time.monotonic() + PATIENCE_S
    with suppress(ConnectionResetError):
        while chunk := sock.recv(65536):
            chunks.append(chunk)
            assert time.monotonic() < until, "the answer does not end"
    return b"".join(chunks)


def checked(answer: bytes) -> tuple[int, bytes]:
    """Take an answer apart; it is whole, readable, and tells no more than it should."""
    head, gap, body = answer.partition(b"\r\n\r\n")
    assert gap, answer[:300]
    line, *fields = head.split(b"\r\n")
    found = _STATUS.fullmatch(line)
    assert found, line
    headers = {
        name.lower(): value.strip() for name, _, value in (f.partition(b":") for f in fields)
    }
    assert len(headers) == len(fields), "a header stands twice"
    assert headers[b"content-length"] == b"%d" % len(body)
    assert headers[b"connection"] == b"close"
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert headers[b"cache-control"] == b"no-store"
    assert b"Traceback" not in body[:100_000]
    status = int(found[1])
    if headers[b"content-type"] == b"application/json":
        document = json.loads(body, parse_constant=_no_number)
        assert isinstance(document, dict)
        if status >= 400 and status != 503:
            assert len(document["error"]) > 10, document
    elif status >= 400:
        assert len(body) > 10, answer[:300]
    return status, body


def _no_number(text: str) -> NoReturn:
    raise AssertionError(f"{text} is no JSON: a browser cannot read it")


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


async def _work(ready: threading.Event, over: asyncio.Event) -> None:
    install()
    breaker = Breaker("payments")
    bulkhead = Bulkhead(2, name="warehouse")
    async with Scope("shop", kind="app") as shop, bulkhead:
        for _ in range(20):
            shop.go(_wait, over)
        shop.go(_wait, over)
        await asyncio.sleep(0.05)
        ready.set()
        await over.wait()
    del breaker


@contextmanager
def application() -> Generator[None]:
    """Run a loop with tasks, scopes and guards in a thread, under the flight recorder."""
    ready, over = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        await _work(ready, over)

    thread = threading.Thread(target=lambda: asyncio.run(main()), name="application")
    thread.start()
    assert ready.wait(10)
    recorder = Recorder().start()
    try:
        yield
    finally:
        recorder.stop()
        loops[0].call_soon_threadsafe(over.set)
        thread.join(10)


@contextmanager
def plane(where: Path | str, patch: Any, **options: Any) -> Generator[Plane]:
    """Open a plane that is less patient than usual, and listen to its log."""
    patch.setattr(server_module, "READ_TIMEOUT_S", 0.15)
    patch.setattr(server_module, "LINGER_S", 0.05)
    patch.setattr(_leaks, "_CONFIRM_S", 0.02)
    patch.setattr(_main_thread, "_PATIENCE_S", 0.05)
    log = Listening()
    logging.getLogger("backstay").addHandler(log)
    try:
        with AdminServer(where, leak_interval=0.5, **options) as server:
            yield Plane(server, log)
    finally:
        logging.getLogger("backstay").removeHandler(log)
