"""The metrics of this process as an ASGI application, to mount where a scraper can reach it.

    from backstay.integrations.metrics_app import metrics

    app = Starlette(routes=[Mount("/metrics", metrics(token=os.environ["METRICS_TOKEN"])), ...])

Needs nothing. Tested with starlette 1.10 and uvicorn 0.54.

The admin plane has the same at ``/metrics`` and answers while the loop is blocked, which this cannot: use
it for scrapers that do not reach the host's loopback address.
"""

from __future__ import annotations

import asyncio
import hmac
import os
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from backstay.observe.metrics import Collector
from backstay.observe.workers import scrape_workers, siblings

__all__ = ["MetricsApp", "metrics"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Sockets = Callable[[], Iterable[str | os.PathLike[str]]]


def metrics(
    collector: Collector | None = None,
    *,
    workers: bool | Sockets = False,
    token: str | None = None,
) -> MetricsApp:
    """Return an ASGI application that answers each GET with the metrics.

    Args:
        collector: reads them; one of its own when omitted, which is started by the first scrape.
        workers: True when several workers share the port: then each scrape shows all of them, found by
            `siblings`, each row with its ``worker``. Every worker needs an admin plane at its
            standard place for that. Or a function that returns the admin sockets of all.
        token: what a scraper must send as ``Authorization: Bearer …``; None lets everybody read.

    Raises:
        ValueError: the token is empty.
    """
    return MetricsApp(collector or Collector(), workers, token)


class MetricsApp:
    """Answers with the metrics; made by `metrics`.

    They are read in a thread of its own, one scrape at a time, so that the loop is free to answer how
    late it is.
    """

    def __init__(self, collector: Collector, workers: bool | Sockets, token: str | None) -> None:
        """See `metrics`."""
        if token is not None and not token:
            raise ValueError(
                "the token for metrics is empty, so everybody would know it: give None or a secret"
            )
        self._collector = collector
        self._sockets: Sockets | None = siblings if workers is True else workers or None
        self._token = token
        self._thread: ThreadPoolExecutor | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it.

        Cancelled: nothing is sent; the thread ends its scrape, and nobody reads it.
        """
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _answer(self, scope: Scope, send: Send) -> None:
        fields: dict[bytes, bytes] = {}
        for name, value in scope.get("headers", ()):
            fields.setdefault(name.lower(), value)
        if scope["method"] not in ("GET", "HEAD"):
            await _send(send, 405, "text/plain", b"use GET\n", (b"allow", b"GET, HEAD"))
            return
        if not self._knows_token(fields.get(b"authorization", b"")):
            await _send(send, 401, "text/plain", b"a token is needed\n", _CHALLENGE)
            return
        if self._thread is None:
            self._collector.start()
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="backstay-metrics")
        accept = fields.get(b"accept", b"").decode("latin-1")
        kind, body = await asyncio.get_running_loop().run_in_executor(
            self._thread, self._scrape, accept
        )
        await _send(send, 200, kind, b"" if scope["method"] == "HEAD" else body)

    def _scrape(self, accept: str) -> tuple[str, bytes]:
        if self._sockets is None:
            return self._collector.scrape(accept)
        return scrape_workers(self._sockets(), own=self._collector, accept=accept)

    def _knows_token(self, said: bytes) -> bool:
        if self._token is None:
            return True
        kind, _, token = said.partition(b" ")
        return kind.lower() == b"bearer" and hmac.compare_digest(token, self._token.encode())


_CHALLENGE = (b"www-authenticate", b"Bearer")


async def _send(
    send: Send, status: int, kind: str, body: bytes, *more: tuple[bytes, bytes]
) -> None:
    headers = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *more,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
