"""A gate on loopback for one browser: it forwards to an admin plane that no browser can reach.

Whoever knows the printed address gets in, once: the token in it is good for one visit, which
hands the browser a secret of its own in a cookie. Pages of other sites are kept out: they
cannot read the cookie, it is not sent along with what they ask, the browser says for whom it
asks, and the Host header tells when a name of theirs has been pointed at loopback.
"""

from __future__ import annotations

import hmac
import html
import io
import logging
import secrets
import socket
import sys
import threading
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from backstay._base import now
from backstay.errors import BackstayError, UsageError
from backstay.observe.desk import Reply, refusal
from backstay.observe.target import AdminClient
from backstay.observe.ui._assets import page

__all__ = ["Gate"]

#: Requests served at once; a browser opens six connections to a host.
_MOST_AT_ONCE: Final = 24
#: Seconds to send a whole request, and for the plane to answer it; profiles take as long as asked.
_READ_S: Final = 10.0
_ANSWER_S: Final = 75.0
_PROFILE_S: Final = 375.0
_LONGEST_TARGET: Final = 4096

_READABLE: Final = ("/ui/", "/v1/", "/debug/pprof/")
_FULL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
    b"%d requests are being answered: try again\n" % _MOST_AT_ONCE
)

_log = logging.getLogger("backstay.ui")

_PAGES: Final = frozenset({"/metrics", "/livez", "/readyz", "/healthz"})


class Gate:
    """Serves one admin plane to one browser on this machine.

    ::

        with Gate("4711") as gate:
            print(gate.url)
            gate.wait()

    Attributes:
        url: what to open, with the token that is good for one visit.
        port: where it listens on 127.0.0.1.
    """

    def __init__(self, target: str, *, port: int = 0, token: str | None = None) -> None:
        """Describe the gate; entering it opens it.

        Args:
            target: a pid, the path of a socket, or the URL of a plane.
            port: to listen at; 0 for any that is free.
            token: of the plane; see `AdminClient`.
        """
        self.url = ""
        self.port = port
        self._target = target
        self._plane_token = token
        self._ticket = secrets.token_urlsafe(24)
        self._secret = secrets.token_urlsafe(32)
        self._used = False
        self._guard = threading.Lock()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self._over = threading.Event()

    def __enter__(self) -> Gate:
        """Listen.

        Raises:
            UsageError: the port cannot be had.
        """
        gate = self

        class Handler(_Handler):
            owner = gate

        try:
            self._server = _Server(("127.0.0.1", self.port), Handler)
        except OSError as error:
            raise UsageError(
                f"cannot listen at 127.0.0.1:{self.port} ({error.strerror}): give another --port"
            ) from error
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/?token={self._ticket}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="backstay-gate", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        self._over.set()

    def wait(self) -> None:
        """Wait until it is closed, or somebody interrupts."""
        self._over.wait()

    # -- one request ------------------------------------------------------------------

    @property
    def cookie(self) -> str:
        """Name of the cookie: of its own for each port, since browsers share them between ports."""
        return f"backstay_gate_{self.port}"

    def answer(self, target: str, headers: Any) -> Reply:
        """Return what a browser gets.

        Args:
            target: path and query, as sent.
            headers: of the request; asked with `get`.
        """
        host = headers.get("Host", "")
        if host not in (f"127.0.0.1:{self.port}", f"localhost:{self.port}"):
            return page(
                403,
                "Not at this address",
                f"The browser asked for the host <code>{html.escape(host[:80])}</code>. "
                f"Open <code>http://127.0.0.1:{self.port}/</code> itself.",
            )
        if not (target.startswith("/") and target.isascii() and target.isprintable()) or (
            target.startswith("//")
        ):
            return refusal(400, f"{target[:100]!a} is no path: it starts with one /")
        parts = urlsplit(target)
        told = parse_qs(parts.query).get("token", [""])[0] if parts.path == "/" else ""
        if told and not self._knows(headers):
            return self._let_in() if self._take(told) else _stranger()
        if not self._knows(headers):
            return _stranger()
        if headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            return refusal(403, "a page of another site asks: open the address itself")
        if parts.path in ("/", "/ui"):
            return Reply(303, "text/plain", b"", (("Location", "/ui/"),))
        if not parts.path.startswith(_READABLE) and parts.path not in _PAGES:
            return refusal(404, f"there is nothing at {parts.path[:100]}: the pages are at /ui/")
        return self._forward(target, parts.path)

    def _forward(self, target: str, path: str) -> Reply:
        slow = path.endswith("/make") or "/debug/pprof/" in path
        client = AdminClient(
            self._target, timeout=_PROFILE_S if slow else _ANSWER_S, token=self._plane_token
        )
        try:
            return client.ask(target)
        except BackstayError as error:
            return refusal(502, str(error))

    def _knows(self, headers: Any) -> bool:
        try:
            found = SimpleCookie(headers.get("Cookie", "")).get(self.cookie)
        except CookieError:
            return False
        told = "" if found is None else found.value
        return hmac.compare_digest(told.encode("utf-8", "replace"), self._secret.encode())

    def _take(self, told: str) -> bool:
        """Tell whether this is the ticket, and was not used before."""
        with self._guard:
            right = hmac.compare_digest(told.encode("utf-8", "replace"), self._ticket.encode())
            first = right and not self._used
            self._used = self._used or right
            return first

    def _let_in(self) -> Reply:
        """Hand out the cookie, with a page that goes on by itself.

        A redirect would count as the site's that the address was clicked on, and the browser would
        keep a strict cookie back.
        """
        cookie = f"{self.cookie}={self._secret}; HttpOnly; SameSite=Strict; Path=/"
        found = page(200, "Backstay", '<a href="/ui/">Open the pages</a>')
        more = (*found.headers, ("Set-Cookie", cookie), ("Refresh", "0; url=/ui/"))
        return Reply(200, found.content_type, found.body, more)


def _stranger() -> Reply:
    return page(
        403,
        "This address does not let you in",
        "It works once, for the browser that opened it first, and only as long as its "
        "<code>backstay ui</code> runs.",
        "Run <code>backstay ui TARGET</code> again and open the address that it prints.",
    )


class _Server(ThreadingHTTPServer):
    """Takes so many connections at once and no more: each has a thread."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64  # of five, the sixth would wait a second for its next try

    def __init__(self, address: tuple[str, int], handler: type[_Handler]) -> None:
        self._room = threading.BoundedSemaphore(_MOST_AT_ONCE)
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        with suppress(OSError):  # the answer is a courtesy; the close is what counts
            request.send(_FULL)
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # a browser that has gone is no news
            _log.exception("a request could not be answered")


class _InTime(io.RawIOBase):
    """What comes from a socket, until a moment: a byte now and then does not keep it open."""

    def __init__(self, sock: socket.socket, until: float) -> None:
        self._sock = sock
        self._until = until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._until - now()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        try:
            return self._sock.recv_into(buffer)
        finally:
            self._sock.settimeout(_READ_S)


class _Handler(BaseHTTPRequestHandler):
    """Takes a request off the wire."""

    owner: Gate
    server_version = "backstay-gate"
    sys_version = ""
    timeout = _READ_S

    def setup(self) -> None:
        """Read the request against the clock."""
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(_InTime(self.connection, now() + _READ_S))

    def do_GET(self) -> None:
        """Answer."""
        if len(self.path) > _LONGEST_TARGET:
            self._send(refusal(414, f"the path is longer than {_LONGEST_TARGET} characters"))
        else:
            self._send(self.owner.answer(self.path, self.headers))

    def _send(self, reply: Reply) -> None:
        self.close_connection = True
        try:
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.content_type)
            self.send_header("Content-Length", str(len(reply.body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Connection", "close")
            for name, value in reply.headers:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the browser has left

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        """Say nothing: the address holds the ticket."""
