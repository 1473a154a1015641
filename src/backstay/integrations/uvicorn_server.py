"""An HTTP server as a component of a `Service`: it opens with its block, and drains at its end.

Extra: ``pip install backstay[run]``. Tested with uvicorn 0.30 to 0.54.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import uvicorn

from backstay.integrations.uvicorn import Front, Served, StartupFailed
from backstay.lifecycle import Readiness, leftovers

__all__ = ["HttpServer", "http_server"]

_log = logging.getLogger("backstay.service")

App = Callable[..., Awaitable[None]]

_POLL_S = 0.01
_TIDY_S = (
    0.8  # for requests that are cut to tidy up: less than what a service grants after a cancel
)


@dataclass(frozen=True, slots=True)
class HttpServer:
    """A server that accepts requests.

    Attributes:
        url: where it listens.
        host: the address of that.
        port: the port of that, also when any free one was asked for.
    """

    url: str
    host: str
    port: int
    _server: Served

    @property
    def in_flight(self) -> int:
        """Requests that are being served."""
        return len(self._server.requests)


@asynccontextmanager
async def http_server(
    app: App,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    readiness: Readiness | None = None,
    access_log: bool = False,
) -> AsyncGenerator[HttpServer]:
    """Serve an ASGI application for the length of a block.

    ::

        service.add("http", lambda: http_server(app, port=8000), needs=("database",), budget=10.0)

    At the end of the block it stops accepting, and waits for the requests in flight and then for the
    application's own shutdown, without a limit of its own: the budget of the component is the limit.

    Args:
        app: the ASGI application, guarded as wanted.
        host: the address to listen on.
        port: the port; 0 for any free one.
        readiness: answers /readyz, beside /livez, and /healthz while a `Health` runs; None to leave all
            three to the application.
        access_log: whether uvicorn logs each request.

    Raises:
        StartupFailed: the application's own start-up failed.
        OSError: the address is taken, or not ours.

    Cancelled: requests in flight are cut, and named in the log; the application's shutdown is cut too.
    """
    loop = asyncio.get_running_loop()
    front = app if readiness is None else Front(app, readiness, bare=app)
    config = uvicorn.Config(
        front, interface="asgi3", log_config=None, access_log=access_log, lifespan="auto"
    )
    with _bound(host, port) as sock:
        server = Served(config, loop.create_future())
        serving = loop.create_task(server.serve(sockets=[sock]), name="uvicorn")
        try:
            await _until_started(server, serving)
            _log.info("listening on %s", _url(sock))
            address, bound = sock.getsockname()[:2]
            yield HttpServer(_url(sock), address, bound, server)
            server.should_exit = True
            await asyncio.shield(serving)
        finally:
            await _cut(server, serving)


async def _until_started(server: Served, serving: asyncio.Task[None]) -> None:
    while not server.started and not serving.done():
        await asyncio.wait({serving}, timeout=_POLL_S)
    if not server.started:
        serving.result()
        raise StartupFailed("the server has ended before it had started")


async def _cut(server: Served, serving: asyncio.Task[None]) -> None:
    """End what still runs; without effect after a stop in order."""
    if serving.done():
        return
    server.should_exit = True
    requests = server.requests
    for one in leftovers(requests):
        _log.error("request cut, the budget of the server is used up: %s", one)
    for task in requests:
        task.cancel("the budget of the server is used up")
    await asyncio.wait({serving, *requests}, timeout=_TIDY_S / 2, return_when=asyncio.ALL_COMPLETED)
    if not serving.done():
        serving.cancel("the budget of the server is used up")
        await asyncio.wait({serving}, timeout=_TIDY_S / 2)


def _bound(host: str, port: int) -> socket.socket:
    # The protocol is named, since asyncio sets TCP_NODELAY only on sockets that say they are TCP.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise OSError(
            error.errno, f"cannot listen on {host}:{port} ({error.strerror}): choose another port"
        ) from error
    return sock


def _url(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
