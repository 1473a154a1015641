"""A process with metrics: counters that grow as they are told to.

    python exporter.py PORT

``/set?good=50&bad=10`` lets ``calls_total{outcome="ok"}`` grow by 50 a second and
``{outcome="fail"}`` by 10; ``/metrics`` shows them.
"""

from __future__ import annotations

import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class Counters:
    """What grows, and how fast."""

    def __init__(self) -> None:
        self.total = {"ok": 0.0, "fail": 0.0}
        self.speed = {"ok": 0.0, "fail": 0.0}
        self._seen = time.monotonic()

    def grow(self) -> None:
        """Let them grow up to now."""
        seen, self._seen = self._seen, time.monotonic()
        for outcome, speed in self.speed.items():
            self.total[outcome] += speed * (self._seen - seen)


COUNTERS = Counters()


class Handler(BaseHTTPRequestHandler):
    """Shows and sets the counters."""

    def do_GET(self) -> None:
        """Answer `/metrics` and `/set`."""
        COUNTERS.grow()
        address = urlsplit(self.path)
        if address.path == "/set":
            wanted = parse_qs(address.query)
            COUNTERS.speed = {"ok": float(wanted["good"][0]), "fail": float(wanted["bad"][0])}
        lines = [f'calls_total{{outcome="{key}"}} {value}' for key, value in COUNTERS.total.items()]
        body = ("# TYPE calls_total counter\n" + "\n".join(lines) + "\n").encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
