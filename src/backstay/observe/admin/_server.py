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
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final
from weakref import WeakSet

from backstay._base import now
from backstay.observe.admin._access import Access, check_token
from backstay.observe.admin._desks import find_desk, open_desks
from backstay.observe.admin._documents import Documents
from backstay.observe.admin._http import (
    MAX_BODY_BYTES,
    MAX_HEAD_BYTES,
    Refusal,
    encode_body,
    encode_reply,
    parse_request,
)
from backstay.observe.admin._listener import Listener, open_listener
from backstay.observe.desk import Desk, Errand, Reply, Request, as_json
from backstay.observe.metrics import Collector
from backstay.observe.target import peer_of

__all__ = ["AdminServer", "AdminStatistics"]

#: Connections served at once; a person, a scraper, the lab and `top` need four.
MAX_CONNECTIONS: Final = 32
#: Seconds to send a request. A local client needs microseconds.
READ_TIMEOUT_S: Final = 5.0
#: Seconds without progress after which a reply is given up.
WRITE_TIMEOUT_S: Final = 10.0
#: Seconds beyond its own that an errand may take; then its client is let go.
ERRAND_TIMEOUT_S: Final = 60.0
#: Errands at once, those counted whose client has left: each has a thread until it is done.
MAX_ERRANDS: Final = 32
#: Bytes a second that a client has to take at least, so that nobody stays for days.
LEAST_RATE: Final = 65_536
#: Seconds, and bytes, for which what a client still sends is read after the answer. A close with
#: unread bytes is a reset, and that can destroy an answer which has not been read yet.
LINGER_S: Final = 1.0
LINGER_BYTES: Final = 1024 * 1024
#: Seconds for all desks together to let go of what they hold.
CLOSE_S: Final = 2.0

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

    __slots__ = ("cut", "errand", "expires", "idle", "inbox", "outbox", "over", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.inbox = bytearray()
        self.outbox: memoryview | None = None
        self.errand: Errand | None = None  # what is being made for it
        self.idle = 0  # bytes that came without being asked for
        self.over = False  # answered: what still comes is read and dropped
        self.expires = now() + READ_TIMEOUT_S
        self.cut = 0.0  # when the reply has to have been taken, at the latest


class AdminServer:
    """The private endpoint of a process: read-only documents and profiles over a unix socket.

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
        metrics: Collector | None = None,
        token: str = "",
        allow_actions: bool = False,
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
            metrics: reads what ``/metrics`` shows; one of its own when omitted.
            token: what clients have to send (``Authorization: Bearer``), besides being who they are; with
                one the plane may listen beyond loopback. None is needed on a unix socket.
            allow_actions: whether it may also act (set probes); otherwise it only looks.

        Raises:
            UsageError: the token is too short, or holds what a header cannot.
        """
        self._where = socket_path
        self._documents = Documents(
            leak_interval=leak_interval,
            log_leaks=log_leaks,
            ready=ready,
            requests=requests,
            metrics=metrics,
        )
        self._listener: Listener | None = None
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._connections: set[_Connection] = set()
        self._answered = 0
        self._refused = 0
        self._access = Access(check_token(token) if token else "", allow_actions)
        self._desks = open_desks(self._blocks, lambda: self.address, token)
        self._made: deque[tuple[_Connection, Reply]] = deque()  # by the threads of errands
        self._room = threading.BoundedSemaphore(MAX_ERRANDS)

    @property
    def address(self) -> str:
        """What to type as TARGET; empty before `start`."""
        return "" if self._listener is None else self._listener.address

    @property
    def paths(self) -> dict[str, tuple[str, ...]]:
        """Every path that is answered, with its methods; for whoever lists or tests them all."""
        found: dict[str, tuple[str, ...]] = dict.fromkeys(self._documents.paths, ("GET",))
        for desk in self._desks:
            found |= dict.fromkeys(desk.paths, desk.methods)
        return found

    def statistics(self) -> AdminStatistics:
        """Return what the plane has done so far."""
        serving = sum(not one.over for one in list(self._connections))
        return AdminStatistics(self.address, serving, self._answered, self._refused)

    def watch_requests(self, requests: Callable[[], object]) -> None:
        """Show the statistics of a guard that was made after the plane was opened."""
        self._documents.requests = requests

    def watch_blocks(self, blocked: Callable[[], object]) -> None:
        """Show the statistics of a `Sysmon` as ``blocked``."""
        self._documents.blocked = blocked

    def _blocks(self) -> object:
        return None if self._documents.blocked is None else self._documents.blocked()

    def start(self) -> AdminServer:
        """Open the socket and answer from a daemon thread.

        Raises:
            UsageError: the place is not private, is in use, or cannot be used.
            RuntimeError: it was started before.
        """
        if self._thread is not None:
            raise RuntimeError("this AdminServer was started before: make a new one")
        self._listener = open_listener(self._where, anywhere=bool(self._access.token))
        self._access = replace(
            self._access,
            over_network=self._listener.path is None,
            beyond_loopback=self._listener.beyond_loopback,
        )
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()
        self._selector.register(self._listener.sock, selectors.EVENT_READ)
        self._wake_in.setblocking(False)
        self._selector.register(self._wake_in, selectors.EVENT_READ)
        self._documents.metrics.start()
        _open_servers.add(self)
        _watch_forks()
        self._thread = threading.Thread(target=self._run, name="backstay-admin", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Close the socket, remove its file and end the thread; harmless when repeated."""
        if self._thread is None:
            return
        self._stopping = True
        if self._thread is threading.current_thread():
            return
        with suppress(OSError):  # stopped before, or it has ended by itself
            self._wake_out.send(b"\0")
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
                    else:
                        self._deliver()
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
        for over in [one for one in self._connections if one.over]:
            if len(self._connections) >= MAX_CONNECTIONS:
                self._close(over)
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
        except Exception:
            # One answer that fails must not take the plane along.
            _log.exception("the admin plane could not serve a request")
            self._close(connection)

    def _receive(self, connection: _Connection) -> None:
        data = connection.sock.recv(4096)
        if connection.errand is not None or connection.over:
            connection.idle += len(data)
            # The client has gone, and nobody needs its profile; or it floods us.
            if not data or connection.idle > LINGER_BYTES:
                self._close(connection)
            return
        connection.inbox += data
        asked = parse_request(bytes(connection.inbox[: MAX_HEAD_BYTES + 4 + MAX_BODY_BYTES]))
        if asked is None and not data:
            self._refused += bool(connection.inbox)
            self._close(connection)
        elif asked is not None:
            self._reply(connection, asked)

    def _reply(self, connection: _Connection, asked: Request | Refusal) -> None:
        refusal = asked if isinstance(asked, Refusal) else self._access.refuse(asked)
        if refusal is not None:
            self._refused += 1
            self._put(connection, encode_reply(refusal.status, {"error": refusal.reason}))
        elif isinstance(asked, Request):
            self._answer(connection, asked)

    def _answer(self, connection: _Connection, asked: Request) -> None:
        desk = find_desk(self._desks, asked.path)
        methods = ("GET",) if desk is None else desk.methods
        if asked.method not in methods:
            known = {
                "error": f"{asked.path[:100]} is for {' and '.join(methods)}, not for {asked.method}"
            }
            self._hand_out(
                connection, replace(as_json(known, 405), headers=(("Allow", ", ".join(methods)),))
            )
        elif desk is None:
            status, document = self._documents.answer(asked)
            try:
                reply = encode_reply(status, document)
            except Exception as error:  # somebody's statistics are no document
                _log.exception("the answer to %s is no document", asked.path)
                status, told = 500, f"{asked.path} is no document: {type(error).__name__}: {error}"
                reply = encode_reply(status, {"error": told})
            self._count(status)
            self._put(connection, reply)
        else:
            self._ask(desk, connection, asked)

    def _ask(self, desk: Desk, connection: _Connection, asked: Request) -> None:
        """Have a desk answer; what takes time is made in a thread of its own, and others are served."""
        try:
            found = desk.answer(asked)
        except Exception as error:
            # A diagnostic that fails must not take the plane along; who asked is told.
            _log.exception("the admin plane could not answer %s", asked.path)
            sorry = {"error": f"{asked.path} failed: {type(error).__name__}: {error}"}
            found = as_json(sorry, 500)
        if isinstance(found, Reply):
            self._hand_out(connection, found)
            return
        if not self._room.acquire(blocking=False):
            busy = f"{MAX_ERRANDS} answers are being made already: try again"
            self._hand_out(connection, found.refuse(503, busy))
            return
        connection.errand = found
        connection.expires = now() + found.longest_s + ERRAND_TIMEOUT_S
        found.start(
            lambda reply: self._take_over(connection, reply),
            ended=self._room.release,
        )

    def _count(self, status: int) -> None:
        if status < 400 or status == 503:
            self._answered += 1
        else:
            self._refused += 1

    def _put(self, connection: _Connection, reply: bytes) -> None:
        connection.outbox = memoryview(reply)
        connection.expires = now() + WRITE_TIMEOUT_S
        connection.cut = connection.expires + len(reply) / LEAST_RATE
        self._selector.modify(connection.sock, selectors.EVENT_WRITE, connection)

    def _take_over(self, connection: _Connection, reply: Reply) -> None:
        """Be told by an errand's thread that it is done."""
        self._made.append((connection, reply))
        with suppress(OSError):  # closed: nobody waits for it any more
            self._wake_out.send(b"\0")

    def _deliver(self) -> None:
        with suppress(BlockingIOError):
            self._wake_in.recv(4096)
        while self._made:
            connection, reply = self._made.popleft()
            if connection in self._connections:
                connection.errand = None
                self._hand_out(connection, reply)

    def _hand_out(self, connection: _Connection, reply: Reply) -> None:
        self._count(reply.status)
        self._put(
            connection, encode_body(reply.status, reply.content_type, reply.body, reply.headers)
        )

    def _send(self, connection: _Connection) -> None:
        assert connection.outbox is not None
        sent = connection.sock.send(connection.outbox)
        connection.outbox = connection.outbox[sent:]
        connection.expires = min(connection.cut, now() + WRITE_TIMEOUT_S)
        if not connection.outbox:
            self._finish(connection)

    def _finish(self, connection: _Connection) -> None:
        """Close so that the reply arrives: say that it ends here, and read until the client does."""
        connection.sock.shutdown(socket.SHUT_WR)
        connection.outbox = None
        connection.over = True
        connection.expires = now() + LINGER_S
        self._selector.modify(connection.sock, selectors.EVENT_READ, connection)
        self._receive(connection)  # most have nothing more to say, and some have gone

    def _expire(self) -> None:
        at = now()
        for connection in [one for one in self._connections if one.expires <= at]:
            silent = connection.outbox is None and connection.errand is None
            if silent and connection.inbox and not connection.over:
                late = Refusal(408, f"the request did not arrive within {READ_TIMEOUT_S:g} s")
                self._reply(connection, late)
                connection.expires = at + 0.5
            else:
                self._close(connection)

    def _close(self, connection: _Connection) -> None:
        if connection in self._connections:
            if connection.errand is not None:
                connection.errand.abandon()
            self._connections.discard(connection)
            self._selector.unregister(connection.sock)
            connection.sock.close()

    def _close_all(self, listener: Listener) -> None:
        with suppress(Exception):  # of others: what is ours is closed whatever happens
            self._documents.metrics.stop()
        for connection in list(self._connections):
            self._close(connection)
        self._selector.close()
        listener.close()
        self._wake_in.close()
        self._wake_out.close()
        self._close_desks()

    def _close_desks(self) -> None:
        """Have the desks let go of what they hold; one that hangs is left behind."""
        closer = threading.Thread(target=self._close_each, name="backstay-admin-end", daemon=True)
        try:
            closer.start()
        except RuntimeError:  # the interpreter ends, or there is no thread to be had
            self._close_each()
        else:
            closer.join(CLOSE_S)
            if closer.is_alive():
                _log.warning("a desk of the admin plane did not close within %g s", CLOSE_S)

    def _close_each(self) -> None:
        for desk in self._desks:
            try:
                desk.close()
            except Exception:
                _log.exception("%s could not be closed", type(desk).__name__)

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
