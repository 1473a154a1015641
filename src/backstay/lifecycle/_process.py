"""A service as a process: signals, a last resort, last words, and an exit code."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import NoReturn

from backstay._base import now
from backstay.errors import BackstayError
from backstay.lifecycle._leftovers import Leftover, leftovers
from backstay.lifecycle._service import Service
from backstay.lifecycle._signals import exit_code, heed_signals
from backstay.lifecycle._watchdog import ExitWatchdog
from backstay.tasks import Scope, install, live_tasks

__all__ = ["run_service"]

_log = logging.getLogger("backstay.service")

#: Seconds in which tasks that outlive the service may end once they are cancelled.
_TIDY_S = 1.0


def run_service(
    service: Service,
    *,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    describe: Callable[[], Sequence[str]] | None = None,
) -> int:
    """Run `service` as the whole of this process, from start to exit code.

    The first SIGTERM or SIGINT stops it in order (SIGINT without the lame duck: nobody balances load
    over a terminal), a second one ends the process at once. Whatever hangs, the process ends within
    the grace and a second: a thread sees to it, also when the loop is blocked. Tasks, threads and
    child processes that are left are named in the log.

    ::

        if __name__ == "__main__":
            sys.exit(run_service(service))

    Args:
        service: not yet run.
        loop_factory: makes the event loop, for example ``uvloop.new_event_loop``.
        describe: says what else keeps the process, a line each, for its last words; threads and
            child processes when omitted.

    Returns:
        0 after a stop in order (130 after SIGINT), also when parts had to be cut; 1 when a component
        did not start, or failed.

    Raises:
        RuntimeError: not called from the main thread, the only one that gets signals.
    """
    return _Process(service, loop_factory, describe or _others).run()


class _Process:
    """One service, the loop that it runs on, and whoever ends them."""

    def __init__(
        self,
        service: Service,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None,
        describe: Callable[[], Sequence[str]],
    ) -> None:
        self._service = service
        self._describe_others = describe
        self._runner = asyncio.Runner(loop_factory=loop_factory)
        self._loop = self._runner.get_loop()
        self._watchdog = ExitWatchdog(self._describe)
        self._since = 0.0
        self._stubborn: list[Leftover] = []

    def run(self) -> int:
        with heed_signals(self._on_stop, self._at_once) as signals:
            self._watchdog.start()
            code = self._runner.run(self._live())
            if code == 0 and signals.first == signal.SIGINT:
                code = exit_code(signal.SIGINT)  # tells a calling shell to stop too
            self._watchdog.code = code
            self._name_threads()
            if self._stubborn:
                _leave(code)
            if signals.first is None:  # or it goes on watching over the end of the interpreter
                self._watchdog.stop()
            self._runner.close()
        return code

    async def _live(self) -> int:
        install()
        code = 1  # unless told otherwise, also when something cancels the whole
        try:
            async with Scope(self._service.name, kind="app", on_exit="cancel"):
                code = await self._serve()
                await self._tidy_up()
        except asyncio.CancelledError:
            code = 1
        return code

    async def _serve(self) -> int:
        try:
            return (await self._service.run()).exit_code
        except BackstayError as error:
            _log.error("%s: %s", self._service.name, error, exc_info=error.__cause__)
        except ExceptionGroup as group:
            for one in group.exceptions:
                _log.error("%s: %s", self._service.name, one, exc_info=one)
        return 1

    async def _tidy_up(self) -> None:
        """Name and cancel what outlives the service; whatever resists that is named again."""
        me = asyncio.current_task()
        alive = {task for task in live_tasks(self._loop) if task is not me}
        for one in leftovers(alive):
            _log.warning("left over: %s", one)
        for task in alive:
            task.cancel("the service has ended")
        if alive:
            _, stubborn = await asyncio.wait(alive, timeout=_TIDY_S)
            self._stubborn = leftovers(stubborn)
            for one in self._stubborn:
                _log.error("did not end when cancelled: %s", one)

    # -- signals: called between two bytecodes of the main thread ---------------------

    def _on_stop(self, number: int) -> None:
        name = signal.Signals(number).name
        self._since = now()
        self._watchdog.arm(self._service.grace)
        self._loop.call_soon_threadsafe(self._stop, name)

    def _stop(self, name: str) -> None:
        if name == "SIGINT":
            self._service.lame_duck = 0.0
        self._service.stop(name)

    def _at_once(self, number: int) -> NoReturn:
        lines = [f"backstay: second signal ({signal.Signals(number).name}): leaving at once"]
        try:
            lines += [f"backstay: left over: {line}" for line in self._describe()]
            os.write(2, ("\n".join(lines) + "\n").encode(errors="replace"))
        finally:
            os._exit(exit_code(number))

    def _describe(self) -> list[str]:
        return [*map(str, leftovers(live_tasks(self._loop))), *self._describe_others()]

    def _name_threads(self) -> None:
        for line in self._describe_others():
            _log.warning("keeps the process: %s", line)


def _others() -> list[str]:
    """Name the threads for which Python waits at its end."""
    me = threading.current_thread()
    return [
        f"thread {thread.name!r}"
        for thread in threading.enumerate()
        if thread is not me and not thread.daemon
    ]


def _leave(code: int) -> NoReturn:
    """End without waiting for tasks and threads, but not without what exit handlers do."""
    import atexit

    atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage] - flushing exporters beats purity here
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
