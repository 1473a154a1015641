"""A small receiver of Alertmanager webhooks, so that an alert brings its own report.

It is reached by the network, so everything is bounded: connections, the length of a body, the time
that either may take. Web pages are kept out by asking for JSON, which a browser does not send
elsewhere without asking first.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, cast

from backstay._base import now
from backstay.errors import UsageError
from backstay.observe.diagnose._alert import Alert, read_alerts
from backstay.observe.diagnose._queue import Full

__all__ = ["AlertReceiver"]

#: Bytes of a message; one of 64 alerts with long annotations has about 100 kB.
MAX_BODY_BYTES: Final = 1024 * 1024
#: Messages that are read at once.
MOST_CONNECTIONS: Final = 8
#: Seconds for each piece of a request, and for a whole body.
READ_TIMEOUT_S: Final = 5.0
BODY_TIMEOUT_S: Final = 10.0
#: Seconds after which a connection is cut, whatever it is at.
CUT_S: Final = 20.0

#: Where messages are posted: webhooks of an Alertmanager, and alerts of a Prometheus that has none.
PATHS: Final = ("/alerts", "/api/v2/alerts")
_KNOWN = "there are POST /alerts, POST /api/v2/alerts and GET /healthz"

Take = Callable[[list[Alert]], int]
"""Takes the alerts that fire, and returns how many will get a report; raises `Full`."""


class AlertReceiver:
    """Listens for webhooks in a thread of its own.

    ::

        with AlertReceiver("127.0.0.1", 9411, queue.add) as receiver:
            print(receiver.address)
    """

    def __init__(self, host: str, port: int, take: Take, *, token: str | None = None) -> None:
        """Open the port; messages are answered once it is entered.

        Args:
            host: an address or a name; anything but loopback needs a token.
            port: 0 for any that is free.
            take: what to do with alerts.
            token: what callers have to send as ``Authorization: Bearer``; None for none.

        Raises:
            UsageError: others could reach it without a token, or the port is taken.
        """
        if token is None and not _is_loopback(host):
            raise UsageError(
                f"{host} can be reached from other machines: give a token with --token-file, or listen on 127.0.0.1"
            )
        try:
            self._server = _Server((host, port), take, token)
        except OSError as error:
            raise UsageError(
                f"cannot listen on {host}:{port} ({error.strerror or error}): choose another port with --listen"
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True
        )

    @property
    def address(self) -> str:
        """The URL to put into Alertmanager's ``webhook_configs``."""
        host, port = self._server.server_address[:2]
        shown = f"[{host!s}]" if ":" in str(host) else str(host)
        return f"http://{shown}:{port}/alerts"

    def __enter__(self) -> AlertReceiver:
        """Begin to answer."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the port, and wait until the thread has ended."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):  # it has ended by itself
        connection.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingHTTPServer):
    """Refuses connections beyond the limit instead of making a thread for each."""

    daemon_threads = True
    block_on_close = False  # a slow client must not hold up the end

    def __init__(self, address: tuple[str, int], take: Take, token: str | None) -> None:
        self.take = take
        self.token = token
        self._room = threading.BoundedSemaphore(MOST_CONNECTIONS)
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        # A client that sends a byte now and then would never run into the other time-outs.
        cut = threading.Timer(CUT_S, _cut, (request,))
        cut.daemon = True
        cut.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            cut.cancel()
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that has gone is no news."""


class _Handler(BaseHTTPRequestHandler):
    """One request, one answer, and the connection ends."""

    timeout = READ_TIMEOUT_S
    server_version = "backstay-diagnose"
    sys_version = ""

    @property
    def _ours(self) -> _Server:
        return cast("_Server", self.server)

    def do_GET(self) -> None:
        """Tell whoever watches over us that we are there."""
        if self.path == "/healthz":
            self._answer(HTTPStatus.OK, {"listening": True})
        else:
            self._answer(HTTPStatus.NOT_FOUND, {"error": _KNOWN})

    def do_POST(self) -> None:
        """Take a message."""
        if self.path not in PATHS:
            self._answer(HTTPStatus.NOT_FOUND, {"error": _KNOWN})
        elif not self._is_known():
            self._answer(HTTPStatus.UNAUTHORIZED, {"error": "expected Authorization: Bearer TOKEN"})
        elif self.headers.get_content_type() != "application/json":
            self._answer(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, {"error": "expected application/json"})
        elif (length := self._length()) is None:
            error = f"expected Content-Length of at most {MAX_BODY_BYTES}"
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": error})
        else:
            self._take(length)

    def _take(self, length: int) -> None:
        body = self._body(length)
        if len(body) < length:
            self._answer(HTTPStatus.REQUEST_TIMEOUT, {"error": "the body came too slowly"})
            return
        try:
            alerts = read_alerts(json.loads(body))
        except (ValueError, RecursionError) as error:
            self._answer(HTTPStatus.BAD_REQUEST, {"error": str(error)})
            return
        try:
            taken = self._ours.take(alerts)
        except Full:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, {"error": "too many alerts wait"})
            return
        self._answer(HTTPStatus.ACCEPTED, {"firing": len(alerts), "reports": taken})

    def _is_known(self) -> bool:
        token = self._ours.token
        if token is None:
            return True
        sent = self.headers.get("Authorization", "").encode("latin-1", "replace")
        return hmac.compare_digest(sent, f"Bearer {token}".encode())

    def _length(self) -> int | None:
        text = self.headers.get("Content-Length", "")
        if self.headers.get("Transfer-Encoding") or not (text.isascii() and text.isdecimal()):
            return None
        return int(text) if len(text) < 10 and int(text) <= MAX_BODY_BYTES else None

    def _body(self, length: int) -> bytes:
        until = now() + BODY_TIMEOUT_S
        body = bytearray()
        while len(body) < length and now() < until:
            piece = self.rfile.read1(min(65_536, length - len(body)))
            if not piece:
                break
            body += piece
        return bytes(body)

    def _answer(self, status: HTTPStatus, document: dict[str, object]) -> None:
        body = json.dumps(document).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named so by its base
        """Say nothing: reports are logged, garbage is not."""
