"""`run`: the front door of a program, in place of `asyncio.run`."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from asyncio import _get_running_loop as running_loop
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, nullcontext
from inspect import iscoroutine
from types import FrameType
from typing import ParamSpec, TypeVar

from backstay.errors import ScopeMisuse
from backstay.tasks._scope import Scope
from backstay.tasks._tracking import install

__all__ = ["run"]

P = ParamSpec("P")
T = TypeVar("T")

_GRACEFUL = {signal.SIGTERM: 0, signal.SIGINT: 130}  # signal -> exit code after a clean stop


def run(
    main: Callable[..., Awaitable[T]],
    *args: object,
    name: str = "main",
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    signals: bool = True,
    debug: bool | None = None,
) -> T:
    """Run `main(*args)` under a root scope with tracking on, and return its result.

    Tasks started by `go` anywhere below belong at least to the root scope, and
    are cancelled and awaited when `main` returns.

    Args:
        main: an async function.
        args: its arguments.
        name: the name of the root scope.
        loop_factory: makes the event loop, for example ``uvloop.new_event_loop``.
        signals: whether SIGTERM and SIGINT end the program in order: the first
            one cancels the root scope, so that every ``finally`` runs; a second
            one ends the process at once, also while the loop is blocked. The
            handlers of before come back at the end.
        debug: asyncio's debug mode; None leaves it as the environment says.

    Raises:
        SystemExit: a signal ended the program: 0 for SIGTERM, 130 for SIGINT.
        ScopeMisuse: a loop is running in this thread already.
        TypeError: `main` is not a function.
    """
    if running_loop() is not None:
        raise ScopeMisuse(
            "run() starts an event loop, and one is running here already: "
            "await the function itself, inside 'async with Scope(...)'"
        )
    if iscoroutine(main):
        main.close()  # or Python would warn later that it was never awaited
        raise TypeError(
            f"run() takes the function and its arguments, not a call: "
            f"write run({main.__name__}, ...) instead of run({main.__name__}(...))"
        )
    with asyncio.Runner(loop_factory=loop_factory, debug=debug) as runner:
        stopped: list[signal.Signals] = []
        result = runner.run(_root(main, args, name, stopped if signals else None))
    if stopped and not result:
        raise SystemExit(_GRACEFUL[stopped[0]])
    return result[0]


async def _root(
    main: Callable[..., Awaitable[T]],
    args: tuple[object, ...],
    name: str,
    stopped: list[signal.Signals] | None,
) -> list[T]:
    """Run `main` in the root scope; an empty list means that a signal cut it short."""
    install()
    result: list[T] = []
    scope = Scope(name, kind="app", on_exit="cancel")
    # Around the scope: the clean-up of its tasks has a right to end in order as well.
    with nullcontext() if stopped is None else _heeding(scope, stopped):
        async with scope:
            result.append(await main(*args))
    return result


@contextmanager
def _heeding(scope: Scope, stopped: list[signal.Signals]) -> Generator[None]:
    """Cancel `scope` on the first signal, end the process on the second."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python delivers signals to the main thread only
        return
    loop = asyncio.get_running_loop()

    # Not loop.add_signal_handler: its handlers wait for the loop, and who asks twice
    # often does so because the loop is blocked.
    def on_signal(number: int, frame: FrameType | None) -> None:
        if stopped:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        stopped.append(signal.Signals(number))
        loop.call_soon_threadsafe(scope.cancel, f"signal {stopped[0].name}")

    before = {number: signal.signal(number, on_signal) for number in _GRACEFUL}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
