"""uvicorn under our signals, so that a stop loses nothing that was accepted.

Extra: ``pip install backstay[run]``. Tested with uvicorn 0.30 to 0.54.

What it adds: uvicorn alone refuses connections from the moment of SIGTERM on,
waits without limit for requests and for the application's shutdown hook, and
ends by raising the signal again. Here the process first says "not ready" and
goes on serving while load balancers look away (the lame duck), asks clients of
kept-alive connections to leave, and only then closes the door; requests and
hooks share one budget; what had to be cut is named.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Generator, MutableMapping
from typing import Any

import uvicorn

from backstay._base import ShutdownOverrun, now, shutdown_overrun
from backstay.errors import BackstayError
from backstay.lifecycle import (
    PhaseRecord,
    Readiness,
    ShutdownBudget,
    ShutdownRecord,
    health_document,
    leftovers,
    missing_dependencies,
    registered_hooks,
    run_hooks,
    running_health,
)
from backstay.tasks import Scope, install, live_tasks

__all__ = ["Front", "Life", "Served", "StartupFailed"]

App = Callable[..., Awaitable[None]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_log = logging.getLogger("backstay.run")

#: Seconds that a cancelled request or hook gets to tidy up.
_TIDY_S = 1.0
_STARTUP_FAILED = "the application failed to start: its error is above"
_STARTUP_FAILURE = 3  # what uvicorn gives to sys.exit; the name for it has moved between versions
_HOUSE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_POLL_S = 0.05


class StartupFailed(BackstayError):
    """The application's own start-up failed; its error is in the log."""


class Front:
    """The outermost ASGI layer under `backstay run`: the probes, and a polite farewell.

    - ``/livez`` answers 200 from here: the loop came round, and nothing else is asked.
    - ``/readyz`` answers 503 from here while starting or draining, or while a critical dependency
      of a `Health` that runs in this process is not up. Otherwise the application is asked, past the
      guard, and when it knows no such path (404 or 405) the answer is 200.
    - ``/healthz`` answers from here while a `Health` runs: each dependency in JSON, with 503 when it
      is not ready. Otherwise it is the application's.
    - While draining, replies carry ``Connection: close``, so that clients of
      kept-alive connections open their next one elsewhere instead of racing
      with our close.
    """

    __slots__ = ("_app", "_bare", "_healthz", "_livez", "_readiness", "_readyz")

    def __init__(
        self,
        app: App,
        readiness: Readiness,
        *,
        bare: App | None = None,
        livez: str | None = "/livez",
        readyz: str | None = "/readyz",
        healthz: str | None = "/healthz",
    ) -> None:
        """Wrap `app`.

        Args:
            app: what serves everything else.
            readiness: whether traffic is wanted.
            bare: the application without guard, to be asked about its own
                readiness also when the guard turns requests away.
            livez: path of the liveness probe; None for none.
            readyz: path of the readiness probe; None for none.
            healthz: path of the detail per dependency; None for none.
        """
        self._app = app
        self._bare = bare or app
        self._readiness = readiness
        self._livez = livez
        self._readyz = readyz
        self._healthz = healthz

    def __call__(
        self, scope: MutableMapping[str, Any], receive: Any, send: Send
    ) -> Awaitable[None]:
        """Serve one connection."""
        # Not `async`: handing on the inner awaitable saves a frame on every request.
        if scope["type"] == "http":
            path = scope["path"]
            if path == self._livez:
                return _answer(send, 200, b"alive\n")
            if path == self._readyz:
                return self._tell_readiness(scope, receive, send)
            if path == self._healthz and running_health():
                return self._tell_health(send)
            if self._readiness.draining and scope.get("http_version") in ("1.0", "1.1"):
                return self._app(scope, receive, _closing(send))
        return self._app(scope, receive, send)

    async def _tell_readiness(
        self, scope: MutableMapping[str, Any], receive: Any, send: Send
    ) -> None:
        if not self._readiness.ready:
            await _answer(_closing(send), 503, self._readiness.reason.encode() + b"\n")
            return
        missing = missing_dependencies()
        if missing:
            await _answer(send, 503, missing.encode() + b"\n")
            return
        unknown = False

        async def listen(message: MutableMapping[str, Any]) -> None:
            nonlocal unknown
            if message["type"] == "http.response.start" and message["status"] in (404, 405):
                unknown = True
            if not unknown:
                await send(message)

        await self._bare(scope, receive, listen)
        if unknown:
            await _answer(send, 200, b"ready\n")

    def _tell_health(self, send: Send) -> Awaitable[None]:
        found = health_document(readiness=self._readiness)
        body = json.dumps(found, ensure_ascii=False).encode() + b"\n"
        return _answer(send, 200 if found["ready"] else 503, body, b"application/json")


async def _answer(
    send: Send, status: int, body: bytes, kind: bytes = b"text/plain; charset=utf-8"
) -> None:
    headers = [
        (b"content-type", kind),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _closing(send: Send) -> Send:
    async def send_and_close(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            kept = [
                (name, value)
                for name, value in message.get("headers", ())
                if bytes(name).lower() != b"connection"
            ]
            message = {**message, "headers": [*kept, (b"connection", b"close")]}
        await send(message)

    return send_and_close


class Served(uvicorn.Server):
    """uvicorn's server without its signal handlers, and telling when the drain is over."""

    def __init__(self, config: uvicorn.Config, drained: asyncio.Future[None]) -> None:
        super().__init__(config)
        self._drained = drained

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave the signals to us."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application and listen; a failure is an error and not `sys.exit`."""
        try:
            await super().startup(sockets)
        except SystemExit as error:
            if error.code != _STARTUP_FAILURE:
                raise
            raise StartupFailed(_STARTUP_FAILED) from None
        except OSError:  # the door could not be opened; what the application has opened is closed
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.lifespan.shutdown(), _TIDY_S)
            raise
        if self.lifespan.should_exit:  # how older versions tell of it
            raise StartupFailed(_STARTUP_FAILED)
        close = self.lifespan.shutdown

        async def shutdown() -> None:
            if not self._drained.done():
                self._drained.set_result(None)  # connections and requests are through
            await close()

        # One instance's method is replaced, because uvicorn has no event between the two.
        setattr(self.lifespan, "shutdown", shutdown)

    @property
    def requests(self) -> list[asyncio.Task[Any]]:
        """The requests that are being served."""
        return list(self.server_state.tasks)


class Life:
    """Serves an ASGI application from start to last word; one use.

    ::

        life = Life(app, sock, ShutdownBudget(), Readiness(), name="shop.order")
        with heed_signals(life.stop_soon, leave_at_once):
            record = loop.run_until_complete(life.live())
    """

    def __init__(
        self,
        app: App,
        sock: socket.socket,
        budget: ShutdownBudget,
        readiness: Readiness,
        *,
        loop: asyncio.AbstractEventLoop,
        name: str = "app",
        access_log: bool = False,
        http: Any = "auto",
        on_started: Callable[[], object] = lambda: None,
    ) -> None:
        """Prepare; nothing is served before `live`.

        Args:
            app: the ASGI application, wrapped as wanted.
            sock: bound, not yet listening.
            budget: how the seconds of the shutdown are shared out.
            readiness: told when the application has started and when it drains.
            loop: the loop that will run it; tracking is installed on it.
            name: of the scope that owns what nobody else does.
            access_log: whether uvicorn logs each request.
            http: what reads requests, as uvicorn's option of that name.
            on_started: called once requests are accepted.
        """
        config = uvicorn.Config(
            app,
            interface="asgi3",
            http=http,
            log_config=None,
            access_log=access_log,
            lifespan="auto",
        )
        self._loop = loop
        self._drained: asyncio.Future[None] = loop.create_future()
        self._stop: asyncio.Future[None] = loop.create_future()
        self._server = Served(config, self._drained)
        self._sock = sock
        self._budget = budget
        self._readiness = readiness
        self._name = name
        self._on_started = on_started
        self._since = 0.0  # when the signal came, on the clock of now()
        self._signal = 0
        self._record = ShutdownRecord()
        install(loop)

    def stop_soon(self, signal_number: int, name: str) -> None:
        """Begin the shutdown; callable from a signal handler."""
        self._since = now()
        self._signal = signal_number
        self._record.signal = name
        self._loop.call_soon_threadsafe(self._stop.set_result, None)

    def unfinished(self) -> list[asyncio.Task[Any]]:
        """Return the live tasks that are somebody's work; callable from any thread.

        Our own and uvicorn's are left out; the application's lifespan is theirs
        only from the moment on when its shutdown hook runs.
        """
        plumbing = (
            ("Server.serve",) if self._drained.done() else ("Server.serve", "LifespanOn.main")
        )
        return [task for task in live_tasks(self._loop) if not _is_plumbing(task, plumbing)]

    async def live(self) -> ShutdownRecord:
        """Serve until `stop_soon`, shut down within the budget, and say how it went.

        Raises:
            StartupFailed: the application's start-up failed.
            OSError: the socket cannot listen.
        """
        async with Scope(self._name, kind="app", on_exit="cancel"):
            await self._live()
        return self._record

    async def _live(self) -> None:
        # Not `go`: the scope would wait without limit for a server that hangs.
        serving = self._loop.create_task(self._server.serve(sockets=[self._sock]), name="uvicorn")
        await self._until_started(serving)
        await asyncio.wait({serving, self._stop}, return_when=asyncio.FIRST_COMPLETED)
        if self._stop.done():
            await self._shut_down(serving)
        self._readiness.drain("stopped")
        await self._tidy_up(serving)
        if serving.done() and not serving.cancelled():
            serving.result()  # an error of the server itself

    async def _until_started(self, serving: asyncio.Task[None]) -> None:
        while not (self._server.started or serving.done() or self._stop.done()):
            await asyncio.wait({serving, self._stop}, timeout=_POLL_S / 5)
        if self._server.started and not self._stop.done():
            self._readiness.succeed()
            self._on_started()

    # -- the phases ------------------------------------------------------------

    async def _shut_down(self, serving: asyncio.Task[None]) -> None:
        self._readiness.drain("draining")
        if not self._server.started:
            serving.cancel("stopped before it had started")
            self._note("start-up", now(), False, "stopped before it had started")
            return
        await self._lame_duck(serving)
        await self._drain(serving)
        await self._hooks(serving)

    async def _lame_duck(self, serving: asyncio.Task[None]) -> None:
        if self._record.signal == "SIGINT":
            return  # nobody balances load over a terminal
        begun = now()
        left = self._budget.lame_duck_left(self._since, begun)
        if left > 0:
            _log.info("%s: not ready any more; serving on for %.3g s", self._record.signal, left)
            await asyncio.wait({serving}, timeout=left)
            self._note("lame duck", begun)

    async def _drain(self, serving: asyncio.Task[None]) -> None:
        begun = now()
        left = self._budget.drain_left(self._since, begun)
        _log.info(
            "stops accepting; %d requests to finish within %.3g s",
            len(self._server.requests),
            left,
        )
        # uvicorn's own limit comes after ours; it makes it go on to the hooks although
        # a client keeps a connection open by never reading its reply.
        self._server.config.timeout_graceful_shutdown = left + _TIDY_S / 2  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
        self._server.should_exit = True
        over = {serving, self._drained}
        await asyncio.wait(over, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if self._drained.done() or serving.done():
            self._note("drain", begun)
            return
        cut = self._server.requests
        self._record.lost = leftovers(cut)
        for one in self._record.lost:
            _log.error("request cut, the grace is used up: %s", one)
        if shutdown_overrun:
            shutdown_overrun.emit(ShutdownOverrun(f"{len(cut)} requests cut, the grace is used up"))
        for task in cut:
            task.cancel("the grace of the shutdown is used up")
        await asyncio.wait(over, timeout=_TIDY_S, return_when=asyncio.FIRST_COMPLETED)
        self._note("drain", begun, False, f"{len(cut)} requests cut")

    async def _hooks(self, serving: asyncio.Task[None]) -> None:
        """Let the application close what it has opened, then run the hooks of the process."""
        begun = now()
        left = self._budget.left(self._since, begun)
        # An application that hangs here must leave something for the hooks that are registered.
        await asyncio.wait({serving}, timeout=left / 2 if registered_hooks() else left)
        if serving.done():
            self._note("hooks", begun)
        else:
            _log.error("the application's shutdown hook did not end within the grace and is cut")
            if shutdown_overrun:
                shutdown_overrun.emit(ShutdownOverrun("the application's shutdown hook was cut"))
            serving.cancel("the grace of the shutdown is used up")
            self._note("hooks", begun, False, "cut")
        await self._registered_hooks()

    async def _registered_hooks(self) -> None:
        hooks = registered_hooks()
        begun = now()
        left = (
            self._budget.left(self._since, begun) - _TIDY_S
        )  # in which one that is deaf is given up
        if not hooks:
            return
        failed: tuple[Exception, ...] = ()
        try:
            await run_hooks(max(left, _POLL_S))
        except ExceptionGroup as group:
            failed = group.exceptions
        for error in failed:
            _log.error("a shutdown hook failed: %s", error, exc_info=error)
        self._record.failed_hooks = len(failed)
        detail = f"{len(failed)} of {len(hooks)} failed" if failed else ""
        self._note("registered hooks", begun, not failed, detail)

    async def _tidy_up(self, serving: asyncio.Task[None]) -> None:
        """Name and cancel what is still alive; whatever resists that is named again."""
        me = asyncio.current_task()
        await asyncio.wait({serving}, timeout=_TIDY_S / 2)
        alive = {task for task in live_tasks(self._loop) if task is not me}
        self._record.leftovers = leftovers(self.unfinished())
        for one in self._record.leftovers:
            _log.warning("left over: %s", one)
        for task in alive:
            task.cancel("the server has ended")
        if alive:
            left = self._budget.left(self._since, now()) if self._since else _TIDY_S
            _, stubborn = await asyncio.wait(alive, timeout=max(_TIDY_S / 2, min(left, 5.0)))
            self._record.stubborn = leftovers(stubborn)
            for one in self._record.stubborn:
                _log.error("did not end when cancelled: %s", one)

    def _note(self, phase: str, begun: float, ok: bool = True, detail: str = "") -> None:
        record = PhaseRecord(phase, round(now() - begun, 3), ok, detail)
        self._record.phases.append(record)
        _log.info(
            "%s: %.3g s%s%s",
            phase,
            record.took_s,
            "" if ok else ", not in order",
            f" ({detail})" if detail else "",
        )


def _is_plumbing(task: asyncio.Task[Any], names: tuple[str, ...]) -> bool:
    coroutine = task.get_coro()
    code = getattr(coroutine, "cr_code", None)
    ours = code is not None and code.co_filename.startswith(_HOUSE)
    return ours or getattr(coroutine, "__qualname__", "") in names
