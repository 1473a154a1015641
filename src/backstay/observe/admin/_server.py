"""The admin plane's server: one daemon thread, one selector, bounded in every direction.

Why not asyncio: the plane has to answer while the application's loop is
blocked, and a second loop of our own would show up in what it reports. Why one
thread and not one per connection: garbage and slow clients then cost a file
descriptor for a few seconds and never a thread.

Idle, the thread sleeps in the selector until the next sample for the leak
report is due, or for good when sampling is off.
"""

from __future__ import annotations

import errno
import logging
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit
from weakref import WeakSet

from backstay._base import now
from backstay.observe.admin._documents import Documents
from backstay.observe.admin._http import (
    MAX_HEAD_BYTES,
    Refusal,
    Request,
    encode_reply,
    parse_request,
)
from backstay.observe.admin._listener import Listener, open_listener, peer_of

__all__ = ["AdminServer", "AdminStatistics"]

#: Connections served at once; a person, a scraper, the lab and `top` need four.
MAX_CONNECTIONS: Final = 32
#: Seconds to send a request head. A local client needs microseconds.
READ_TIMEOUT_S: Final = 5.0
#: Seconds without progress after which a reply is given up.
WRITE_TIMEOUT_S: Final = 10.0

_log = logging.getLogger("backstay.admin")


@dataclass(frozen=True, slots=True)
class AdminStatistics:
    """What the admin plane has done so far."""

    address: str
    connections: int  # open now
    answered: int  # replies with a document
    refused: int  # garbage, unknown paths, strangers, too many connections


class _Connection:
    """One client: bytes in until the head is complete, then bytes out."""

    __slots__ = ("expires", "inbox", "outbox", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.inbox = bytearray()
        self.outbox: memoryview | None = None
        self.expires = now() + READ_TIMEOUT_S


class AdminServer:
    """The private endpoint of a process: read-only JSON documents over a unix socket.

    ::

        with AdminServer() as server:
            print(server.address)

    It answers while the application's loop is blocked, as long as other threads
    get to run (a C call that keeps the interpreter's lock stops everybody).

    Cost: nothing while idle, but one sample of the tasks per `leak_interval`.
    """

    def __init__(
        self,
        socket_path: str | os.PathLike[str] | None = None,
        *,
        leak_interval: float = 30.0,
        log_leaks: bool = False,
        ready: Callable[[], bool] = lambda: True,
        requests: Callable[[], object] | None = None,
    ) -> None:
        """Describe the plane; `start` opens it.

        Args:
            socket_path: where; None for the user's runtime directory, a path, or
                a loopback address such as ``127.0.0.1:9400``.
            leak_interval: seconds between two samples for the leak report; 0 for none.
            log_leaks: whether each new verdict is written to the log (logger "backstay.leak"), with the
                trace ids of the requests that it came from; looked for after each sample, by a proof too.
            ready: tells whether the process wants traffic; called from another thread.
            requests: returns the guard's statistics; called from another thread.
        """
        self._where = socket_path
        self._documents = Documents(
            leak_interval=leak_interval, log_leaks=log_leaks, ready=ready, requests=requests
        )
        self._listener: Listener | None = None
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._connections: set[_Connection] = set()
        self._answered = 0
        self._refused = 0

    @property
    def address(self) -> str:
        """What to type as TARGET; empty before `start`."""
        return "" if self._listener is None else self._listener.address

    def statistics(self) -> AdminStatistics:
        """Return what the plane has done so far."""
        return AdminStatistics(self.address, len(self._connections), self._answered, self._refused)

    def watch_requests(self, requests: Callable[[], object]) -> None:
        """Show the statistics of a guard that was made after the plane was opened."""
        self._documents.requests = requests

    def watch_blocks(self, blocked: Callable[[], object]) -> None:
        """Show the statistics of a `Sysmon` as ``blocked``."""
        self._documents.blocked = blocked

    def start(self) -> AdminServer:
        """Open the socket and answer from a daemon thread.

        Raises:
            UsageError: the place is not private, is in use, or cannot be used.
            RuntimeError: it was started before.
        """
        if self._thread is not None:
            raise RuntimeError("this AdminServer was started before: make a new one")
        self._listener = open_listener(self._where)
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()
        self._selector.register(self._listener.sock, selectors.EVENT_READ)
        self._wake_in.setblocking(False)
        self._selector.register(self._wake_in, selectors.EVENT_READ)
        _open_servers.add(self)
        _watch_forks()
        self._thread = threading.Thread(target=self._run, name="backstay-admin", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Close the socket, remove its file and end the thread; harmless when repeated."""
        self._stopping = True
        if self._thread is None or self._thread is threading.current_thread():
            return
        try:
            self._wake_out.send(b"\0")
        except OSError:
            return  # stopped before
        self._thread.join(WRITE_TIMEOUT_S)

    def remove_file(self) -> None:
        """Remove the socket's file at once, for a process that ends without clean-up."""
        if self._listener is not None and self._listener.path is not None:
            self._listener.close()

    def __enter__(self) -> AdminServer:
        """Start."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    # -- the thread ----------------------------------------------------------

    def _run(self) -> None:
        assert self._listener is not None
        try:
            while not self._stopping:
                for key, events in self._selector.select(self._patience()):
                    if key.fileobj is self._listener.sock:
                        self._accept(self._listener.sock)
                    elif isinstance(key.data, _Connection):
                        self._serve(key.data, events)
                self._expire()
                self._documents.sample_if_due()
        except Exception:
            _log.exception("the admin plane has ended by an error of its own; the program goes on")
        finally:
            self._close_all(self._listener)

    def _patience(self) -> float | None:
        """Seconds until something is due; None to sleep until somebody calls."""
        due = [connection.expires for connection in self._connections]
        sample = self._documents.next_sample()
        if sample is not None:
            due.append(sample)
        return max(0.0, min(due) - now()) if due else None

    def _accept(self, listening: socket.socket) -> None:
        try:
            sock, _ = listening.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                time.sleep(0.1)  # the caller stays in the queue: do not spin until one is free
            return
        sock.setblocking(False)
        refusal = self._unwelcome(sock)
        if refusal is not None:
            self._refused += 1
            with suppress(OSError):  # the answer is a courtesy; the close is what counts
                sock.send(encode_reply(refusal.status, {"error": refusal.reason}))
            sock.close()
            return
        connection = _Connection(sock)
        self._connections.add(connection)
        self._selector.register(sock, selectors.EVENT_READ, connection)

    def _unwelcome(self, sock: socket.socket) -> Refusal | None:
        peer = peer_of(sock)
        if peer is not None and peer[1] not in (0, os.geteuid()):
            return Refusal(403, f"this process belongs to user {os.geteuid()}, not to {peer[1]}")
        if len(self._connections) >= MAX_CONNECTIONS:
            return Refusal(503, f"{MAX_CONNECTIONS} connections are open already: try again")
        return None

    def _serve(self, connection: _Connection, events: int) -> None:
        try:
            if events & selectors.EVENT_READ and connection.outbox is None:
                self._receive(connection)
            if connection.outbox is not None:
                self._send(connection)
        except BlockingIOError:
            pass
        except OSError:
            self._close(connection)  # reset by the client: its business

    def _receive(self, connection: _Connection) -> None:
        data = connection.sock.recv(4096)
        connection.inbox += data
        asked = parse_request(bytes(connection.inbox[: MAX_HEAD_BYTES + 4]))
        if asked is None and not data:
            self._refused += bool(connection.inbox)
            self._close(connection)
        elif asked is not None:
            self._reply(connection, asked)

    def _reply(self, connection: _Connection, asked: Request | Refusal) -> None:
        if isinstance(asked, Request) and not self._is_meant_for_us(asked):
            asked = Refusal(403, f"the Host header {asked.host!r} is not a loopback address")
        status, document = (
            (asked.status, {"error": asked.reason})
            if isinstance(asked, Refusal)
            else self._documents.answer(asked)
        )
        if status in (200, 503) and isinstance(asked, Request):
            self._answered += 1
        else:
            self._refused += 1
        connection.outbox = memoryview(encode_reply(status, document))
        connection.expires = now() + WRITE_TIMEOUT_S
        self._selector.modify(connection.sock, selectors.EVENT_WRITE, connection)

    def _is_meant_for_us(self, asked: Request) -> bool:
        """Keep web pages out: a browser can be led to loopback, but it names the page's host."""
        if self._listener is None or self._listener.path is not None:
            return True  # no browser opens unix sockets
        host = urlsplit(f"//{asked.host}").hostname or ""
        return host in {"localhost", "::1"} or host.startswith("127.")

    def _send(self, connection: _Connection) -> None:
        assert connection.outbox is not None
        sent = connection.sock.send(connection.outbox)
        connection.outbox = connection.outbox[sent:]
        connection.expires = now() + WRITE_TIMEOUT_S
        if not connection.outbox:
            self._finish(connection)

    def _finish(self, connection: _Connection) -> None:
        """Close so that the reply arrives: unread bytes would turn the close into a reset."""
        with suppress(OSError):
            connection.sock.shutdown(socket.SHUT_WR)
            for _ in range(16):  # bounded: who sends more than 64 KiB of garbage gets the reset
                if not connection.sock.recv(4096):
                    break
        self._close(connection)

    def _expire(self) -> None:
        at = now()
        for connection in [one for one in self._connections if one.expires <= at]:
            if connection.outbox is None and connection.inbox:
                late = Refusal(408, f"the request head did not arrive within {READ_TIMEOUT_S:g} s")
                self._reply(connection, late)
                connection.expires = at + 0.5
            else:
                self._close(connection)

    def _close(self, connection: _Connection) -> None:
        if connection in self._connections:
            self._connections.discard(connection)
            self._selector.unregister(connection.sock)
            connection.sock.close()

    def _close_all(self, listener: Listener) -> None:
        for connection in list(self._connections):
            self._close(connection)
        self._selector.close()
        listener.close()
        self._wake_in.close()
        self._wake_out.close()

    def drop_socket(self) -> None:
        """In a forked child: drop the parent's socket, or clients would wait for us in vain."""
        if self._listener is not None:
            self._listener.sock.close()


_open_servers: WeakSet[AdminServer] = WeakSet()


@lru_cache(maxsize=1)
def _watch_forks() -> None:
    os.register_at_fork(after_in_child=_drop_all)


def _drop_all() -> None:
    for server in list(_open_servers):
        server.drop_socket()
