"""The guard: every request gets an owner, a deadline and an exit.

Plain ASGI and outermost, for two reasons that were measured elsewhere: a
middleware between guard and server hides the disconnect, and one between guard
and handler answers errors in its own way. The application runs in the server's
own task, not in one of ours: no hop, no second cancellation to keep in step.
"""

from __future__ import annotations

import asyncio
from asyncio import get_running_loop
from collections.abc import MutableMapping
from sys import maxsize
from typing import Any

from backstay.context import DEADLINE_MARKER, DEADLINE_MARKER_VALUE, REQUEST_ID
from backstay.errors import BackstayError, DeadlineExceeded
from backstay.integrations.asgi._answers import (
    App,
    Receive,
    Send,
    answer,
    answer_websocket,
    retry_after_header,
)
from backstay.integrations.asgi._arrival import Arrival, read_arrival
from backstay.integrations.asgi._exchange import HttpRequest
from backstay.integrations.asgi._failure_log import log_failure, log_overrun
from backstay.integrations.asgi._life import Life, Lives
from backstay.integrations.asgi._lifespan import serve_lifespan
from backstay.integrations.asgi._names import RouteNames
from backstay.integrations.asgi._options import GuardOptions, Inherit, RouteTable
from backstay.integrations.asgi._request_id import next_request_id
from backstay.integrations.asgi._socket import SocketExchange
from backstay.integrations.asgi._statistics import Counters, GuardStatistics
from backstay.tasks import ServedScope

__all__ = ["Guard", "TornResponse"]

AsgiScope = MutableMapping[str, Any]

_EXPIRED = (DEADLINE_MARKER.encode(), DEADLINE_MARKER_VALUE.encode())


class TornResponse(BackstayError):
    """Raised to the server, so that it closes a connection whose answer cannot be completed."""


class Guard:
    """An ASGI application around another one; made by `guard()`.

    Attributes:
        app: the application inside.
        options: what was asked for.
    """

    def __init__(self, app: App, options: GuardOptions) -> None:
        """Use `guard()`."""
        self.app = app
        self.options = options
        self._counters = Counters()
        self._lives = Lives(options, self._counters)
        self._life: Life | None = None
        self._names = RouteNames()
        self._routes = RouteTable(options.routes)
        self._has_routes = bool(options.routes)
        self._observes = options.observe
        self._timeout = options.timeout
        self._cancels = options.cancel_on_disconnect
        self._cap = options.max_in_flight or maxsize
        self._near = 4 * options.disconnect_delay
        # What the wire may ask for at most; a deadline only shrinks.
        self._longest = options.timeout if options.max_timeout is None else options.max_timeout

    def statistics(self) -> GuardStatistics:
        """Return what the guard has counted; callable from any thread."""
        return self._counters.freeze(self._lives.adopted_alive())

    def __repr__(self) -> str:
        c = self._counters
        mode = " observe" if self.options.observe else ""
        return f"<Guard of {self.app!r}{mode} requests={c.requests} in_flight={c.in_flight}>"

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection of any type; unknown types pass through untouched."""
        # What every request pays; what only some need stands in other methods.
        if scope["type"] != "http" or self._observes:
            await self._serve_other(scope, receive, send)
            return
        counters = self._counters
        counters.requests += 1
        if counters.in_flight >= self._cap and scope["path"] not in self.options.probes:
            await self._reject(send)
            return
        arrival = read_arrival(scope["headers"])
        timeout, cancels = self._timeout, self._cancels
        if arrival is not None or self._has_routes:
            timeout, cancels = self._particulars(scope, arrival)
            if arrival is not None and (arrival.malformed is not None or arrival.timeout == 0.0):
                await self._refuse(arrival, send)
                return
        life = self._life
        if life is None or life.loop is not get_running_loop():
            life = self._life = self._lives.here()
        name = self._names.known.get((scope["method"], scope["path"])) or self._name(scope)
        request_id = (arrival and arrival.request_id) or next_request_id()
        request = HttpRequest(name, life.wheel, timeout, receive, send, cancels, request_id)
        if arrival is not None:
            request.echoes = True
            _apply(arrival, request)
        error: BaseException | None = None
        slow = life.slow
        counters.in_flight = in_flight = counters.in_flight + 1
        if in_flight > counters.peak_in_flight:
            counters.peak_in_flight = in_flight
        try:
            # A deadline too near for the slow list to see to it in time is watched at once.
            request.open(watch_deadline=timeout is not None and timeout < self._near)
            slow.fresh[request] = None
            if not slow.ticking:
                slow.arm()
            try:
                await self.app(scope, request.receive, request.send)
            except BaseException as caught:
                error = caught
            if error is not None or not request.leave():
                error = await self._end(request, error)
        finally:
            counters.in_flight -= 1
            if slow.fresh.pop(request, self) is self:  # it has been seen by a tick
                slow.discard(request)
            request.let_go()
            if request.raw_spawned:
                life.census.note(request)
        if "path_params" in scope:
            self._learn(scope, request.name)
        if error is not None or not request.complete:
            try:
                await self._settle(scope, request, send, error)
            finally:
                del error

    # -- http --------------------------------------------------------------

    def _particulars(self, scope: AsgiScope, arrival: Arrival | None) -> tuple[float | None, bool]:
        """Return the deadline and whether a disconnect cancels, for this very request."""
        timeout, cancels = self._timeout, self._cancels
        longest = self._longest
        route = self._routes.find(scope["path"])
        if route is not None:
            if not isinstance(route.timeout, Inherit):
                # A route with its own deadline, or none, is bound by that and not by the default.
                timeout = longest = route.timeout
            if not isinstance(route.cancel_on_disconnect, Inherit):
                cancels = route.cancel_on_disconnect
        if arrival is not None:
            self._counters.ignored_headers += arrival.ignored
            if arrival.timeout is not None:
                timeout = arrival.timeout if longest is None else min(arrival.timeout, longest)
        return timeout, cancels

    def _learn(self, scope: AsgiScope, name: str) -> None:
        """Name the next request of this route by what the framework says of this one."""
        parameters = scope["path_params"]
        if parameters and name not in self._names.learned:
            self._names.learn(scope["method"], scope["path"], parameters)

    async def _end(self, request: HttpRequest, error: BaseException | None) -> BaseException | None:
        """Leave the scope the long way; return what the application raised, if that is its own.

        Raises:
            BaseException: a cancel from outside, or the end of the process.
        """
        request.stop_watching()
        try:
            trace = None if error is None else error.__traceback__
            absorbed = await request.__aexit__(type(error) if error else None, error, trace)
        except Exception as raised:
            return raised
        except asyncio.CancelledError as raised:
            error, absorbed = raised, False
        if absorbed or error is None:
            return None
        if isinstance(error, asyncio.CancelledError):
            if _from_outside():
                request.taken = True  # the server answers, or hangs up: its decision
                raise error
            return error  # the handler awaited something that was cancelled: its own failure
        if not isinstance(error, Exception):
            raise error
        return error

    def _name(self, scope: AsgiScope) -> str:
        method, path = scope.get("method", "WS"), scope["path"]
        return self._names.known.get((method, path)) or self._names.name(method, path)

    def _other_scope(
        self, scope: AsgiScope, life: Life, timeout: float | None
    ) -> tuple[ServedScope, str]:
        """Return a scope for what is not a guarded http request, and its request id."""
        arrival = read_arrival(scope["headers"])
        request_id = (arrival and arrival.request_id) or next_request_id()
        served = ServedScope(
            self._name(scope),
            life.wheel,
            timeout=timeout,
            values={REQUEST_ID: request_id},
            trace_id=arrival.trace_id if arrival is not None else None,
        )
        return served, request_id

    # -- ends that are not the application's -------------------------------

    async def _reject(self, send: Send) -> None:
        self._counters.rejected += 1
        retry = retry_after_header(self.options.retry_after)
        await answer(send, 503, "busy: too many requests in flight, try again later", (retry,))

    async def _refuse(self, arrival: Arrival, send: Send) -> None:
        """Answer before any code of the application runs."""
        request_id = arrival.request_id or next_request_id()
        headers = ((b"x-request-id", request_id.encode()),)
        if arrival.malformed is not None:
            self._counters.malformed += 1
            seen = ascii(arrival.malformed[:32])
            text = (
                f"header Backstay-Timeout-Ms is {seen}: expected whole milliseconds "
                f"(1 to 10 digits); leave it out for the server's own deadline"
            )
            await answer(send, 400, text, headers)
            return
        self._counters.expired += 1
        self._counters.expired_on_arrival += 1
        await answer(send, 504, "deadline was spent on arrival", (*headers, _EXPIRED))

    async def _settle(
        self, scope: AsgiScope, request: HttpRequest, send: Send, error: BaseException | None
    ) -> None:
        """End a request that did not end by a complete answer alone."""
        late = _is_late(request, error)
        request_id = request.request_id
        if request.complete:
            if error is not None and request.cause is not error:
                self._counters.failed += 1
                log_failure(scope, request, request_id, error, "error after the answer was sent")
            return
        request.taken = True
        if request.disconnected and not late and _means_gone(error):
            self._counters.disconnected += 1
            return
        if late:
            self._counters.expired += 1
            status, what = 504, _overrun(request, started=request.started)
            log_overrun(scope, request, request_id, error, what)
        else:
            self._counters.failed += 1
            status, what = 500, _failure(request, error, started=request.started)
            log_failure(scope, request, request_id, error, what)
        if request.started:
            self._counters.torn += 1
            raise TornResponse(f"{request.name}: {what}") from error
        text = "deadline exceeded" if late else "internal server error"
        headers = ((b"x-request-id", request_id.encode()), *((_EXPIRED,) if late else ()))
        await answer(send, status, f"{text} (request {request_id})", headers)

    # -- the other kinds ---------------------------------------------------

    async def _serve_other(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if self._observes:
            if kind in {"http", "websocket"}:
                await self._observe(scope, receive, send)
            else:
                await self.app(scope, receive, send)
        elif kind == "websocket":
            await self._serve_websocket(scope, receive, send)
        elif kind == "lifespan":
            await serve_lifespan(
                self.app, self._lives.here(), self.options.drain_timeout, scope, receive, send
            )
        else:
            await self.app(scope, receive, send)

    async def _serve_websocket(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        counters, options = self._counters, self.options
        counters.websockets_total += 1
        if options.max_websockets is not None and counters.websockets >= options.max_websockets:
            counters.rejected += 1
            retry = (retry_after_header(options.retry_after),)
            await answer_websocket(scope, send, 503, "busy: too many websockets", retry)
            return
        life = self._lives.here()
        route = self._routes.find(scope["path"])
        timeout = None if route is None or isinstance(route.timeout, Inherit) else route.timeout
        served, request_id = self._other_scope(scope, life, timeout)
        exchange = SocketExchange(receive, send)
        counters.websockets += 1
        try:
            async with served:
                await self.app(scope, exchange.receive, exchange.send)
        except Exception as error:
            await self._settle_websocket(scope, served, exchange, send, request_id, error)
        finally:
            counters.websockets -= 1
            if served.raw_spawned:
                life.census.note(served)

    async def _settle_websocket(
        self,
        scope: AsgiScope,
        served: ServedScope,
        exchange: SocketExchange,
        send: Send,
        request_id: str,
        error: Exception,
    ) -> None:
        if exchange.closed and _means_gone(error):
            self._counters.disconnected += 1
            return
        if _is_late(served, error):
            self._counters.expired += 1
            log_overrun(scope, served, request_id, error, "its deadline passed")
        else:
            self._counters.failed += 1
            log_failure(scope, served, request_id, error, "unhandled error")
        if exchange.closed:
            return
        if exchange.accepted:
            await send({"type": "websocket.close", "code": 1011, "reason": "internal error"})
        else:
            await answer_websocket(scope, send, 500, "internal server error")

    async def _observe(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Attribute the tasks of a request to it, and change nothing else."""
        counters, life = self._counters, self._lives.here()
        served, _ = self._other_scope(scope, life, None)
        http = scope["type"] == "http"
        counters.requests += http
        counters.in_flight += http
        counters.peak_in_flight = max(counters.peak_in_flight, counters.in_flight)
        counters.websockets += not http
        counters.websockets_total += not http
        try:
            async with served:
                await self.app(scope, receive, send)
        except Exception:
            counters.failed += 1
            raise
        finally:
            counters.in_flight -= http
            counters.websockets -= not http
            if served.raw_spawned:
                life.census.note(served)


def _apply(arrival: Arrival, request: HttpRequest) -> None:
    if arrival.trace_id is not None:
        request.trace_id = arrival.trace_id
    if arrival.expects_continue:
        request.expects_continue = True


def _from_outside() -> bool:
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _is_late(served: ServedScope, error: BaseException | None) -> bool:
    """Whether the request's own deadline ended it, seen from wherever the news came."""
    if isinstance(served.cause, DeadlineExceeded):
        return True
    # A scope inside, under the same deadline, may strike a tick before ours does.
    return isinstance(error, DeadlineExceeded) and error.scope == served.name


def _means_gone(error: BaseException | None) -> bool:
    """Whether an error is a framework's way of saying that the client has left."""
    return error is None or isinstance(error, OSError) or "Disconnect" in type(error).__name__


def _overrun(served: ServedScope, *, started: bool) -> str:
    cause = served.cause
    limit = cause.timeout if isinstance(cause, DeadlineExceeded) else None
    passed = "its deadline passed" if limit is None else f"its deadline of {limit:g} s passed"
    if not started:
        return passed
    return (
        f"{passed} while the answer was being sent, so the connection is closed; "
        f"a route that streams needs Route(path, timeout=None)"
    )


def _failure(served: ServedScope, error: BaseException | None, *, started: bool) -> str:
    if started:
        what = "unhandled error" if error is not None else "the application stopped"
        return f"{what} in the middle of the answer, so the connection is closed"
    if error is not None:
        return "unhandled error"
    if served.cause is not None:
        return f"cancelled without an answer: {served.cause}"
    return "the application returned without an answer"
