"""aiohttp.web on our terms: each request has an owner, a deadline and an exit, and a server is a component.

Extra: ``pip install backstay[aiohttp]``. Needs aiohttp 3.12 or newer, tested with 3.14.

    guard = ServerGuard(timeout=10.0)
    app = web.Application(middlewares=[guard])
    service.add("http", lambda: aiohttp_server(app, guard, port=8080), needs=("database",), budget=10.0)

What it adds: what `backstay.integrations.asgi.guard` adds to an ASGI application, as far as aiohttp lets a middleware do
so. Alone, aiohttp lets a handler run for as long as it likes, runs on when the client has left, and at its end waits a
minute for requests and then drops them without a word.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from backstay.context import DEADLINE_MARKER, DEADLINE_MARKER_VALUE, REQUEST_ID
from backstay.errors import DeadlineExceeded
from backstay.integrations.asgi._arrival import Arrival, read_arrival
from backstay.integrations.asgi._failure_log import log_failure, log_overrun
from backstay.integrations.asgi._request_id import next_request_id
from backstay.lifecycle import (
    Readiness,
    health_document,
    leftovers,
    missing_dependencies,
    running_health,
)
from backstay.tasks import DeadlineWheel, ServedScope, install

__all__ = ["AiohttpServer", "ServerGuard", "ServerGuardStatistics", "aiohttp_server"]

_log = logging.getLogger("backstay.aiohttp")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_TIDY_S = 0.8  # for requests that are cut: less than what a service grants after a cancel
_ENDLESS_S = 3600.0  # the budget of the component is the limit, and not aiohttp's


@dataclass(frozen=True, slots=True)
class ServerGuardStatistics:
    """How a guarded aiohttp server is doing.

    Attributes:
        requests: asked so far, probes apart.
        in_flight: being served.
        rejected: refused at the cap.
        malformed: refused for a deadline that cannot be read.
        expired: whose deadline had passed on arrival, or passed in flight.
        disconnected: whose client left.
        failed: that ended by an unhandled error.
    """

    requests: int
    in_flight: int
    rejected: int
    malformed: int
    expired: int
    disconnected: int
    failed: int


class ServerGuard:
    """A middleware that makes each request a scope; the first of the application's, so that it is outermost."""

    __middleware_version__ = 1  # how aiohttp knows a middleware of today's kind

    def __init__(
        self,
        *,
        timeout: float | None = 10.0,
        max_in_flight: int | None = 1000,
        readiness: Readiness | None = None,
    ) -> None:
        """Prepare.

        Args:
            timeout: seconds for each request; a caller may ask for less. None for no limit. A request to upgrade (a
                websocket) has none.
            max_in_flight: requests at a time; what comes beyond is answered with 503.
            readiness: answers /readyz, beside /livez, and /healthz while a `Health` runs; None to leave all three to
                the application.

        Raises:
            ValueError: a number is not positive.
        """
        if (timeout is not None and not timeout > 0) or (
            max_in_flight is not None and max_in_flight < 1
        ):
            raise ValueError(
                f"ServerGuard: timeout={timeout!r} and max_in_flight={max_in_flight!r}: expected "
                f"positive numbers, or None for no limit"
            )
        self._timeout = timeout
        self._cap = max_in_flight
        self._readiness = readiness
        self._leaving = False
        self._wheel: tuple[asyncio.AbstractEventLoop, DeadlineWheel] | None = None
        self._live: dict[asyncio.Task[Any], None] = {}
        self._requests = self._rejected = self._malformed = 0
        self._expired = self._disconnected = self._failed = 0

    @property
    def in_flight(self) -> list[asyncio.Task[Any]]:
        """The tasks that serve a request just now."""
        return list(self._live)

    def statistics(self) -> ServerGuardStatistics:
        """Return what was counted."""
        return ServerGuardStatistics(
            self._requests,
            len(self._live),
            self._rejected,
            self._malformed,
            self._expired,
            self._disconnected,
            self._failed,
        )

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Serve one request; called by aiohttp.

        Cancelled: the client has left, or the server ends: so is the handler, and all that it started.
        """
        probe = self._answer_probe(request)
        if probe is not None:
            return probe
        self._requests += 1
        if self._cap is not None and len(self._live) >= self._cap:
            self._rejected += 1
            return _said(503, "busy: too many requests in flight, try again later", retry=True)
        arrival = read_arrival([(name.lower(), value) for name, value in request.raw_headers])
        request_id = (arrival and arrival.request_id) or next_request_id()
        if arrival is not None and (arrival.malformed is not None or arrival.timeout == 0.0):
            return self._refuse(arrival, request_id)
        response = await self._serve(request, handler, arrival, request_id)
        if self._leaving or (self._readiness is not None and self._readiness.draining):
            response.force_close()  # its next request goes elsewhere, and does not race with our close
        return response

    def leave(self) -> None:
        """Ask clients of kept-alive connections to go, with each answer from now on."""
        self._leaving = True

    async def _serve(
        self, request: web.Request, handler: Handler, arrival: Arrival | None, request_id: str
    ) -> web.StreamResponse:
        scope = self._scope(request, arrival, request_id)
        task = asyncio.current_task()
        if task is not None:
            self._live[task] = None
        try:
            async with scope:
                return await handler(request)
        except web.HTTPException:
            raise  # the handler's own, deliberate answer
        except Exception as error:
            return self._settle(request, scope, request_id, error)
        except asyncio.CancelledError as error:
            if task is not None and task.cancelling() == 0:  # it awaited what was cancelled
                return self._settle(request, scope, request_id, error)
            if request.transport is None or request.transport.is_closing():
                self._disconnected += 1
            raise
        finally:
            if task is not None:
                self._live.pop(task, None)
        # The scope was ended by somebody who cancelled it, and absorbed that.
        self._failed += 1
        return _said(500, f"internal server error (request {request_id})", request_id)

    def _scope(self, request: web.Request, arrival: Arrival | None, request_id: str) -> ServedScope:
        loop = asyncio.get_running_loop()
        if self._wheel is None or self._wheel[0] is not loop:
            install(loop)
            self._wheel = (loop, DeadlineWheel(loop))
        timeout = self._timeout
        if arrival is not None and arrival.timeout is not None:
            timeout = arrival.timeout if timeout is None else min(arrival.timeout, timeout)
        if "Upgrade" in request.headers:
            timeout = None
        resource = request.match_info.route.resource
        path = "(no such route)" if resource is None else resource.canonical
        return ServedScope(
            f"{request.method} {path}"[:120],
            self._wheel[1],
            timeout=timeout,
            values={REQUEST_ID: request_id},
            trace_id=arrival.trace_id if arrival is not None else None,
        )

    def _refuse(self, arrival: Arrival, request_id: str) -> web.Response:
        """Answer before any code of the application runs."""
        if arrival.malformed is not None:
            self._malformed += 1
            seen = ascii(arrival.malformed[:32])
            words = (
                f"header Backstay-Timeout-Ms is {seen}: expected whole milliseconds (1 to 10 digits); "
                f"leave it out for the server's own deadline"
            )
            return _said(400, words, request_id)
        self._expired += 1
        return _said(504, "deadline was spent on arrival", request_id, expired=True)

    def _settle(
        self, request: web.Request, scope: ServedScope, request_id: str, error: BaseException
    ) -> web.Response:
        """Turn what left the handler into an answer; once one has begun, into a closed connection."""
        about = {"method": request.method, "path": request.path, "client": _peer(request)}
        late = isinstance(scope.cause, DeadlineExceeded)
        begun = request.writer.output_size > 0
        if late:
            self._expired += 1
            what = "its deadline passed" + (" while the answer was being sent" if begun else "")
            log_overrun(about, scope, request_id, error, what, _log)
        else:
            self._failed += 1
            log_failure(about, scope, request_id, error, "unhandled error", _log)
        if begun:
            if request.transport is not None:
                request.transport.abort()  # so that a torn answer never looks complete
            raise ConnectionResetError(f"{scope.name}: it ended within its answer") from error
        words = "deadline exceeded" if late else "internal server error"
        return _said(
            504 if late else 500, f"{words} (request {request_id})", request_id, expired=late
        )

    def _answer_probe(self, request: web.Request) -> web.Response | None:
        readiness = self._readiness
        if readiness is None or request.path not in {"/livez", "/readyz", "/healthz"}:
            return None
        if request.path == "/livez":
            return web.Response(text="alive\n")
        if request.path == "/healthz":
            if not running_health():
                return None
            found = health_document(readiness=readiness)
            body = json.dumps(found, ensure_ascii=False) + "\n"
            return web.Response(
                text=body, status=200 if found["ready"] else 503, content_type="application/json"
            )
        if not readiness.ready:
            answer = web.Response(text=f"{readiness.reason}\n", status=503)
            answer.force_close()
            return answer
        missing = missing_dependencies()
        return web.Response(text=f"{missing or 'ready'}\n", status=503 if missing else 200)


def _said(
    status: int, text: str, request_id: str = "", *, expired: bool = False, retry: bool = False
) -> web.Response:
    headers = {"x-request-id": request_id} if request_id else {}
    if expired:
        headers[DEADLINE_MARKER] = DEADLINE_MARKER_VALUE
    if retry:
        headers["Retry-After"] = "1"
    return web.Response(text=f"{text}\n", status=status, headers=headers)


def _peer(request: web.Request) -> object:
    name: Any = None if request.transport is None else request.transport.get_extra_info("peername")
    return name[:2] if isinstance(name, tuple) else None  # pyright: ignore[reportUnknownVariableType]


@dataclass(frozen=True, slots=True)
class AiohttpServer:
    """A server that accepts requests.

    Attributes:
        url: where it listens.
        host: the address of that.
        port: the port of that, also when any free one was asked for.
    """

    url: str
    host: str
    port: int


@asynccontextmanager
async def aiohttp_server(
    app: web.Application, guard: ServerGuard, *, host: str = "127.0.0.1", port: int = 8000
) -> AsyncGenerator[AiohttpServer]:
    """Serve an application for the length of a block.

    At the end of the block it stops accepting, and waits for the requests in flight and then for the application's
    own clean-up, without a limit of its own: the budget of the component is the limit.

    Args:
        app: with `guard` as its first middleware.
        guard: the application's.
        host: the address to listen on.
        port: the port; 0 for any free one.

    Raises:
        OSError: the address is taken, or not ours.

    Cancelled: requests in flight are cut, and named in the log.
    """
    # With this a client that leaves cancels its handler, as the guard promises.
    runner = web.AppRunner(
        app, handler_cancellation=True, access_log=None, shutdown_timeout=_ENDLESS_S
    )
    await runner.setup()
    in_order = False
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise OSError(
                error.errno, f"cannot listen on {host}:{port} ({error}): choose another port"
            ) from error
        address, bound = runner.addresses[0][:2]
        url = f"http://[{address}]:{bound}" if ":" in address else f"http://{address}:{bound}"
        _log.info("listening on %s", url)
        yield AiohttpServer(url, address, bound)
        guard.leave()
        await site.stop()
        while guard.in_flight:
            await asyncio.wait(guard.in_flight)
        in_order = True
        await runner.cleanup()
    finally:
        if not in_order:
            await _cut(guard, runner)


async def _cut(guard: ServerGuard, runner: web.AppRunner) -> None:
    """End what still runs, and then the application's own part, whatever resists."""
    requests = guard.in_flight
    for one in leftovers(requests):
        _log.error("request cut, the budget of the server is used up: %s", one)
    for task in requests:
        task.cancel("the budget of the server is used up")
    if requests:
        await asyncio.wait(requests, timeout=_TIDY_S / 2)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_TIDY_S / 2):
            await runner.cleanup()
    if (
        runner.server is not None
    ):  # a handler that is deaf to cancels keeps its connection no longer
        for connection in runner.server.connections:
            connection.force_close()
