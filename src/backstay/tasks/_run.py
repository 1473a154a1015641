"""`run`: the front door of a program, in place of `asyncio.run`."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

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
            one ends the process at once.
        debug: asyncio's debug mode; None leaves it as the environment says.

    Raises:
        SystemExit: a signal ended the program: 0 for SIGTERM, 130 for SIGINT.
    """
    with asyncio.Runner(loop_factory=loop_factory, debug=debug) as runner:
        loop = runner.get_loop()
        stopped: list[signal.Signals] = []
        result = runner.run(_root(main, args, name, stopped if signals else None))
    del loop
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
    async with Scope(name, kind="app", on_exit="cancel") as scope:
        heard = [] if stopped is None else _listen(scope, stopped)
        try:
            result.append(await main(*args))
        finally:
            loop = asyncio.get_running_loop()
            for number in heard:
                loop.remove_signal_handler(number)
    return result


def _listen(scope: Scope, stopped: list[signal.Signals]) -> list[signal.Signals]:
    if threading.current_thread() is not threading.main_thread():
        return []  # Python delivers signals to the main thread only
    loop = asyncio.get_running_loop()
    heard: list[signal.Signals] = []

    def on_signal(number: signal.Signals) -> None:
        if stopped:  # asked twice: go at once, by the default action
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        stopped.append(number)
        scope.cancel(f"signal {number.name}")

    for number in _GRACEFUL:
        try:
            loop.add_signal_handler(number, on_signal, number)
        except (NotImplementedError, RuntimeError):
            break  # Windows' loops have none
        heard.append(number)
    return heard
