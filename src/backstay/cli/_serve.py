"""The application side of `backstay run`: from MODULE:APP (or MODULE:SERVICE) to the exit code."""

from __future__ import annotations

import argparse
import asyncio
import errno
import importlib.util
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from types import FrameType
from typing import Any, NoReturn

from backstay.cli._application import load_application, put_working_directory_first
from backstay.cli._block_watch import watch_blocks
from backstay.cli._dump_signal import dump_signal
from backstay.cli._plane import make_plane
from backstay.cli._port import bind, port_in_use, url_of
from backstay.cli._recording import recording
from backstay.cli._run_service import run_declared
from backstay.cli._span_file import span_file
from backstay.errors import UsageError
from backstay.leak import keepers
from backstay.lifecycle import (
    ExitWatchdog,
    Readiness,
    Service,
    ShutdownBudget,
    ShutdownRecord,
    exit_code,
    heed_signals,
    leftovers,
    missing_dependencies,
)
from backstay.observe.admin import AdminServer

__all__ = ["serve"]

_log = logging.getLogger("backstay.run")

#: Lines about leftovers that a process in a hurry still writes.
_LAST_LINES = 20


def serve(args: argparse.Namespace, target: str) -> int:
    """Serve the application that `target` names until a signal; return the exit code.

    Raises:
        UsageError: the application, the address or a flag is wrong.
    """
    budget = _budget(args)
    readiness = Readiness()
    _log_to_stderr(bool(args.access_log))
    with ExitStack() as stack:
        taken, sock = _bind(args, stack)
        admin: AdminServer | None = None
        if args.admin != "off":
            admin = make_plane(args, lambda: readiness.ready and not missing_dependencies())
            stack.enter_context(admin)
        stack.enter_context(recording(args))
        stack.enter_context(dump_signal(args))
        trace = stack.enter_context(span_file(args, target))
        blocks = stack.enter_context(watch_blocks(args))
        if admin is not None and blocks is not None:
            admin.watch_blocks(blocks.statistics)
        put_working_directory_first()
        try:
            with _stop_ends_the_import():
                app = load_application(target, factory=bool(args.factory))
        except _StoppedEarly:
            return 0
        # Again: a module that sets up logging switches off what it does not name.
        _log_to_stderr(bool(args.access_log))
        if isinstance(app, Service):
            if sock is not None:
                sock.close()
            readiness = app.readiness
            return run_declared(app, args, _loop_factory(args.loop or "auto"))
        _need_uvicorn()
        if sock is None:
            raise taken or UsageError("the port could not be bound")
        front, guarded = _wrap(app, args, readiness, budget.hooks_reserve, trace)
        if admin is not None:
            admin.watch_requests(guarded.statistics)
        # What admits refuses best in front of uvicorn: the guard around the application, or, if
        # none was asked for, one that the application is itself.
        door = next((one for one in (guarded, app) if getattr(one, "admission", None)), None)
        return _Service(args, target, front, sock, budget, readiness, admin, door).run()


def _bind(
    args: argparse.Namespace, stack: ExitStack
) -> tuple[UsageError | None, socket.socket | None]:
    """Bind the port before the import, and keep what is wrong: a service needs none of it."""
    try:
        return None, stack.enter_context(bind(args.host or "127.0.0.1", _or(args.port, 8000)))
    except UsageError as error:
        return error, None


class _StoppedEarly(KeyboardInterrupt):
    """SIGTERM came while the application was imported; derived so that imports let it through."""


@contextmanager
def _stop_ends_the_import() -> Generator[None]:
    """Treat SIGTERM like Ctrl-C while there is no loop yet: unwind, clean up, end."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise _StoppedEarly

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Service:
    """One application being served: the loop, the signals, the last words."""

    def __init__(
        self,
        args: argparse.Namespace,
        target: str,
        front: Any,
        sock: Any,
        budget: ShutdownBudget,
        readiness: Readiness,
        admin: AdminServer | None,
        door: Any,
    ) -> None:
        from backstay.integrations.uvicorn import Life

        self._args = args
        self._admin = admin
        self._budget = budget
        self._url = url_of(sock)
        self._loop = _loop_factory(args.loop or "auto")()
        asyncio.set_event_loop(self._loop)
        self._watchdog = ExitWatchdog(self._describe, last_act=self._remove_socket).start()
        self._life = Life(
            front,
            sock,
            budget,
            readiness,
            loop=self._loop,
            name=target,
            access_log=bool(args.access_log),
            http=_http_protocol(door),
            on_started=self._on_started,
        )

    def run(self) -> int:
        from backstay.integrations.uvicorn import StartupFailed

        with heed_signals(self._on_stop, self._at_once) as signals:
            try:
                record = self._loop.run_until_complete(self._life.live())
            except StartupFailed as error:
                _log.error("%s", error)
                return self._leave(1, ShutdownRecord())
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                host, port = self._args.host or "127.0.0.1", _or(self._args.port, 8000)
                raise port_in_use(host, port) from error
            code = record.exit_code
            if code == 0 and signals.first == signal.SIGINT:
                code = exit_code(signal.SIGINT)  # tells a calling shell to stop too
            if self._args.json:
                document = {"url": self._url, "exit_code": code, **asdict(record)}
                print(json.dumps(document, default=str), flush=True)
            return self._leave(code, record)

    def _on_started(self) -> None:
        admin = "" if self._admin is None else f", admin plane at {self._admin.address}"
        _log.info("listening on %s (pid %d%s)", self._url, os.getpid(), admin)

    def _on_stop(self, number: int) -> None:
        self._life.stop_soon(number, signal.Signals(number).name)
        self._watchdog.arm(self._budget.grace)

    def _at_once(self, number: int) -> NoReturn:
        lines = [f"backstay: second signal ({signal.Signals(number).name}): leaving at once"]
        try:
            lines += [f"backstay: left over: {line}" for line in self._describe()]
            os.write(2, ("\n".join(lines) + "\n").encode(errors="replace"))
            self._remove_socket()
        finally:
            os._exit(exit_code(number))

    def _describe(self) -> list[str]:
        found = [str(one) for one in leftovers(self._life.unfinished())]
        try:
            found += [f"{one.kind} {one}" for one in keepers().holding]
        except Exception as error:  # last words: half of them are better than none
            found.append(f"what else is left could not be told ({type(error).__name__}: {error})")
        more = [f"and {len(found) - _LAST_LINES} more kinds"] if len(found) > _LAST_LINES else []
        return found[:_LAST_LINES] + more

    def _remove_socket(self) -> None:
        if self._admin is not None:
            self._admin.remove_file()

    def _leave(self, code: int, record: ShutdownRecord) -> int:
        """Close the loop; what refuses to end must not keep the process."""
        self._watchdog.code = code
        if record.stubborn:
            self._remove_socket()
            _end_process(code)
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        self._loop.close()
        return code


def _end_process(code: int) -> NoReturn:
    """End without waiting for threads or tasks, but not without what exit handlers do."""
    import atexit

    atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage] - flushing exporters beats purity here
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def _need_uvicorn() -> None:
    if importlib.util.find_spec("uvicorn") is None:
        raise UsageError("serving an application needs uvicorn: pip install 'backstay[run]'")


def _budget(args: argparse.Namespace) -> ShutdownBudget:
    standard = ShutdownBudget()
    grace = _or(args.grace, standard.grace)
    try:
        # A short grace alone should not be refused for a lame duck that nobody asked for.
        lame_duck = _or(args.lame_duck, min(standard.lame_duck, grace / 4))
        return ShutdownBudget(lame_duck, grace)
    except ValueError as error:
        raise UsageError(f"--lame-duck and --grace: {error}") from error


def _http_protocol(door: Any) -> Any:
    """Return what uvicorn is to read requests with: a protocol that refuses, where one admits."""
    if door is None:
        return "auto"
    try:
        import httptools  # noqa: F401  # pyright: ignore[reportUnusedImport] - what the door stands on
    except ImportError:
        return "auto"  # slower at refusing, and as right: the guard refuses by itself
    from backstay.integrations.asgi import Guard
    from backstay.integrations.uvicorn_door import door_protocol

    return door_protocol(door) if isinstance(door, Guard) else "auto"


def _wrap(
    app: Any,
    args: argparse.Namespace,
    readiness: Readiness,
    hooks_reserve: float,
    trace: Callable[[Any], Any],
) -> tuple[Any, Any]:
    from backstay.guard import Admission
    from backstay.integrations.asgi import guard
    from backstay.integrations.uvicorn import Front

    options: dict[str, Any] = {"observe": bool(args.observe), "drain_timeout": hooks_reserve}
    if args.timeout is not None:
        options["timeout"] = args.timeout or None  # 0 on a command line is how to say "none"
    if args.max_in_flight is not None:
        options["max_in_flight"] = args.max_in_flight
    if args.on_orphan is not None:
        options["on_orphan"] = args.on_orphan
    if args.admission:
        options["admission"] = Admission(name="requests")
        options["probes"] = _probe_paths(args) or ("/healthz",)
    try:
        guarded = guard(app, **options)
    except ValueError as error:
        raise UsageError(str(error)) from error
    paths = _probe_paths(args)
    livez, readyz, healthz = paths or (None, None, None)
    bare = app if paths else None
    front = Front(trace(guarded), readiness, bare=bare, livez=livez, readyz=readyz, healthz=healthz)
    return front, guarded


def _probe_paths(args: argparse.Namespace) -> tuple[()] | tuple[str, str, str]:
    if args.probes is False:
        return ()
    livez, readyz = args.livez or "/livez", args.readyz or "/readyz"
    healthz: str = args.healthz or "/healthz"
    for flag, path in (("--livez", livez), ("--readyz", readyz), ("--healthz", healthz)):
        if not path.startswith("/"):
            raise UsageError(f"{flag} {path!r} is not a path: it begins with /")
    return livez, readyz, healthz


def _loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if name == "asyncio":
        return asyncio.new_event_loop
    try:
        import uvloop
    except ImportError as error:
        if name == "auto":
            return asyncio.new_event_loop
        raise UsageError(f"--loop uvloop needs uvloop ({error}): pip install uvloop") from error
    return uvloop.new_event_loop


def _log_to_stderr(access_log: bool) -> None:
    """Show our own lines on stderr, unless the program has set up logging for them."""
    for name in (
        "backstay",
        "backstay.run",
        "backstay.service",
        "backstay.admin",
        "backstay.sysmon",
        "uvicorn.access",
    ):
        logging.getLogger(name).disabled = False
    for name in ("backstay", "uvicorn.access")[: 1 + access_log]:
        log = logging.getLogger(name)
        if log.handlers:
            continue
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
