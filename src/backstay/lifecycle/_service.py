"""`Service`: components that start in order, run, and stop in reverse order within one budget.

All that can be wrong happens in `_step`, which is synchronous: it looks at the components and at the
clock, does everything that is due, and says when it wants to be called next. The only place where the
service waits is between two steps; so a cancel can strike in one place, and means there what
a first signal means: stop in order.

::

    STARTING ──all started──► RUNNING ──stop()──► DRAINING ──all ended──► EXITED
        │                        │                   ▲
        └── one failed ──────────┴── one ended ──────┘
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final, Literal

from backstay._base import (
    Roster,
    ServiceMoved,
    ShutdownOverrun,
    now,
    service_moved,
    shutdown_overrun,
)
from backstay.errors import BackstayError, LifecycleMisuse, StartFailed
from backstay.lifecycle._component import Component, ComponentRecord, hook_of, open_of, task_of
from backstay.lifecycle._hooks import registered_hooks
from backstay.lifecycle._leftovers import Leftover, leftovers
from backstay.lifecycle._readiness import Readiness
from backstay.lifecycle._start_order import check_needs, startable, stoppable

__all__ = ["ALIVE", "Service", "ServiceRecord", "ServiceState", "run_hooks"]

ServiceState = Literal["new", "starting", "running", "draining", "exited"]

_log = logging.getLogger("backstay.service")

#: The services of this process.
ALIVE: Final[Roster[Service]] = Roster()

_LAST_S = 1.0  # for a component that was cancelled, to end; then it is abandoned
_NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class ServiceRecord:
    """How a service did."""

    name: str
    state: ServiceState
    reason: str  # why it stopped; "" while it runs
    components: tuple[ComponentRecord, ...]
    left_over: tuple[Leftover, ...]  # tasks of components that did not end

    @property
    def exit_code(self) -> int:
        """0 when everything started, ran and stopped without an error, else 1."""
        return 1 if any(one.error for one in self.components) else 0


class Service:
    """Declares the parts of a process, and brings them up and down.

    ::

        service = Service("orders")
        service.add("database", open_pool, budget=5.0)
        service.add("http", serve, needs=("database",), budget=10.0)
        service.task("poller", poll, needs=("database",))
        await service.run()  # until stop(), a cancel, or a component that fails

    Each component has a task and a scope of its own: what it starts ends with it. A service is used once.

    Attributes:
        name: of the service.
        readiness: true while all components run; not any more from the first moment of the end.
        state: "new", "starting", "running", "draining" or "exited".
        grace: seconds for the whole stop.
        lame_duck: seconds of it to serve on; read when the stop begins.
    """

    def __init__(
        self,
        name: str,
        *,
        grace: float = 30.0,
        lame_duck: float = 0.0,
        readiness: Readiness | None = None,
    ) -> None:
        """Declare an empty service.

        Args:
            name: shown in events, logs and task names.
            grace: seconds for the whole stop, the lame duck included, > 0.
            lame_duck: seconds to go on as before after `stop()`, with readiness down, so that load
                balancers can look away; not when a component has failed.
            readiness: the flag to move; one of its own when omitted.

        Raises:
            ValueError: a number is out of range, or the lame duck leaves nothing of the grace.
        """
        if not 0 <= lame_duck < grace < _NEVER:
            raise ValueError(
                f"the grace is more than the lame duck, which is 0 s or more: not {grace!r} and {lame_duck!r}"
            )
        self.name = name
        self.readiness = readiness or Readiness()
        self.state: ServiceState = "new"
        self.grace, self.lame_duck = grace, lame_duck
        self._parts: dict[str, Component] = {}
        self._needs: dict[str, tuple[str, ...]] = {}
        self._wake = asyncio.Event()
        self._reason = ""
        self._asked_at = self._until = _NEVER
        self._failure: StartFailed | None = None
        self._left: list[Leftover] = []
        ALIVE.add(self)

    # -- declaring -------------------------------------------------------------------

    def add(
        self,
        name: str,
        factory: Callable[[], AbstractAsyncContextManager[Any]],
        *,
        needs: tuple[str, ...] = (),
        ready: Callable[[Any], Awaitable[bool]] | None = None,
        start_within: float = 10.0,
        budget: float = 5.0,
    ) -> None:
        """Declare a component that opens and closes.

        Args:
            name: of the component; `service[name]` is what its block yields, once it runs.
            factory: makes the async context manager; entered to start, left to stop, in one task.
            needs: components that must run before it starts, and stop after it.
            ready: asked about ten times a second with what the block yields, until it says yes.
            start_within: seconds for entering and the readiness gate.
            budget: seconds for leaving; then it is cancelled.

        Raises:
            LifecycleMisuse: there is one of that name, or the service has begun.
            ValueError: a number is not more than 0.
        """
        self._declare(name, open_of(factory, ready, self._moved), needs, start_within, budget)

    def task(
        self,
        name: str,
        work: Callable[[asyncio.Event], Awaitable[object]],
        *,
        needs: tuple[str, ...] = (),
        budget: float = 30.0,
    ) -> None:
        """Declare a component that works until it is told to leave.

        Args:
            name: of the component.
            work: called with the event that tells it; it should finish what it has begun, take
                nothing new, and return. If it returns before, the service stops.
            needs: as for `add`.
            budget: seconds from being told to its end; then it is cancelled.
        """
        self._declare(name, task_of(work, self._moved), needs, _NEVER, budget)

    def hook(
        self,
        name: str,
        work: Callable[[], Awaitable[object]],
        *,
        after: tuple[str, ...] = (),
        budget: float = 5.0,
    ) -> None:
        """Declare work for the stop alone.

        Args:
            name: of the hook.
            work: called once, when all of `after` have ended.
            after: components and hooks; with none it runs at once when the stop begins.
            budget: seconds; then it is cancelled.
        """
        self._declare(name, hook_of(work, self._moved), (), _NEVER, budget)
        self._parts[name].is_hook = True
        for one in after:
            self._needs[one] = (*self._needs.get(one, ()), name)

    def _declare(
        self, name: str, live: Any, needs: tuple[str, ...], start_within: float, budget: float
    ) -> None:
        if self.state != "new":
            raise LifecycleMisuse(f"service {self.name!r} has begun: declare {name!r} before run()")
        if name in self._parts:
            raise LifecycleMisuse(f"service {self.name!r} has a component {name!r} already")
        if not start_within > 0 or not budget > 0:
            raise ValueError(
                f"start_within and budget of {name!r} are more than 0 seconds, not {start_within!r} and {budget!r}"
            )
        self._parts[name] = Component(name, live, needs, start_within, budget)
        self._needs[name] = (*self._needs.get(name, ()), *needs)

    def __getitem__(self, name: str) -> Any:
        """Return what a running component has yielded.

        Raises:
            KeyError: there is no such component.
            LifecycleMisuse: it does not run; say in `needs` that it has to.
        """
        part = self._parts[name]
        if part.state not in ("running", "stopping"):
            raise LifecycleMisuse(
                f"component {name!r} is {part.state}: whoever uses it names it in needs="
            )
        return part.value

    # -- running -----------------------------------------------------------------------

    async def run(self) -> ServiceRecord:
        """Start all, run until the end is asked for, stop all.

        Returns:
            How it went, when nothing has failed.

        Raises:
            StartFailed: a component did not start; what had started was stopped.
            ExceptionGroup: several components failed, or one while it ran or stopped.
            LifecycleMisuse: it has run before, or the needs cannot be met.

        Cancelled: as if `stop()` had been called; a second cancel is `stop_now()`. It ends as cancelled
            once everything has stopped.
        """
        if self.state != "new":
            raise LifecycleMisuse(f"service {self.name!r} is used once: it is {self.state}")
        self._take_hooks()
        for name in self._needs:
            if name not in self._parts:
                raise LifecycleMisuse(
                    f"a hook of service {self.name!r} runs after {name!r}, which is not there: "
                    f"there are {', '.join(self._parts)}"
                )
        check_needs(self._needs)
        self._go("starting", "run() was called")
        cancelled: asyncio.CancelledError | None = None
        while (due := self._step()) is not None:
            try:
                await self._turn(due)
            except asyncio.CancelledError as error:
                (self.stop_now if cancelled else self.stop)("cancelled")
                cancelled = error
        if cancelled is not None:
            raise cancelled
        self._raise_errors()
        return self.record()

    def _take_hooks(self) -> None:
        """Take the hooks that were registered for the process; what they follow may not be here."""
        hooks = [hook for hook in registered_hooks() if hook.name not in self._parts]
        known = {*self._parts, *(hook.name for hook in hooks)}
        for hook in hooks:
            after = tuple(name for name in hook.after if name in known)
            self.hook(hook.name, hook.work, after=after, budget=hook.budget)

    def stop(self, reason: str = "stop() was called") -> None:
        """Ask for the end, in order; from within the loop. More calls change nothing."""
        if self._asked_at == _NEVER:
            self._asked_at = now()
            self._until = self._asked_at + self.grace
            self._reason = reason
            self.readiness.drain(reason)
            self._wake.set()

    def stop_now(self, reason: str = "stop_now() was called") -> None:
        """Ask for the end at once: whatever has not stopped is cancelled."""
        self.stop(reason)
        self._until = min(self._until, now())
        self._wake.set()

    def record(self) -> ServiceRecord:
        """Return how it did so far."""
        return ServiceRecord(
            self.name,
            self.state,
            self._reason,
            tuple(part.record() for part in self._parts.values()),
            tuple(self._left),
        )

    async def _turn(self, due: float) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(None if due == _NEVER else max(0.0, due - now())):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _moved(self) -> None:
        self._wake.set()

    def _go(self, state: ServiceState, why: str) -> None:
        before, self.state = self.state, state
        _log.info("%s: %s: %s", self.name, state, why)
        if service_moved:
            service_moved.emit(ServiceMoved(self.name, before, state, why))

    # -- one step ------------------------------------------------------------------------

    def _step(self) -> float | None:
        """Do what is due; return when to come back, or None at the end."""
        at = now()
        self._notice_failures()
        if self._asked_at == _NEVER:
            self._start_more()
            return _NEVER
        if self.state != "draining":
            self._go("draining", self._reason)
        serve_until = self._asked_at + self.lame_duck
        if self._failure is None and at < min(serve_until, self._until):
            return min(serve_until, self._until)
        self._stop_more(at)
        alive = [part for part in self._parts.values() if part.alive]
        if not alive:
            self._go("exited", self._reason)
            return None
        return min(part.due for part in alive)

    def _notice_failures(self) -> None:
        if self._asked_at != _NEVER:
            return
        for part in self._parts.values():
            if part.state != "ended":
                continue
            if part.start_s is None:
                why = "it was cancelled" if part.error is None else part.record().error
                self._failure = StartFailed(
                    f"component {part.name!r} of service {self.name!r} did not start: {why}",
                    component=part.name,
                )
                self._failure.__cause__ = part.error
                self.stop(str(self._failure))
            else:
                self.stop(f"component {part.name!r} has ended by itself")
            return

    def _start_more(self) -> None:
        if self.state != "starting":
            return
        running = {name for name, part in self._parts.items() if part.state == "running"}
        begun = {name for name, part in self._parts.items() if part.state != "waiting"}
        for name in startable(self._needs, begun, running):
            self._parts[name].begin(self._moved)
        if len(running) == len(self._parts):
            self._go("running", "all components have started")
            self.readiness.succeed()

    def _stop_more(self, at: float) -> None:
        for part in self._parts.values():
            if part.state == "waiting" and part.is_hook:
                part.begin(self._moved)
            elif part.state == "waiting":
                part.state = "ended"
            elif part.alive and at >= min(part.due, self._until):
                self._lose_patience(part, at)
        alive = {name for name, part in self._parts.items() if part.alive}
        stopping = {name for name, part in self._parts.items() if part.state == "stopping"}
        for name in stoppable(self._needs, stopping, alive):
            part = self._parts[name]
            part.tell(at, min(at + part.budget, max(at, self._until)))

    def _lose_patience(self, part: Component, at: float) -> None:
        if not part.cut:
            if part.state != "stopping":
                part.tell(at, _NEVER)
            self._complain(part, f"was cut after {at - part.told:.3g} s of its stop")
            part.cancel(at + _LAST_S)
        elif at >= part.due:
            self._left += self._complain(part, "did not even end when cancelled, and is abandoned")
            part.abandon()

    def _complain(self, part: Component, what: str) -> list[Leftover]:
        """Name a part that does not stop, with the place where it waits."""
        found = leftovers([part.task]) if part.task is not None else []
        _log.error(
            "%s: component %s %s: %s", self.name, part.name, what, "; ".join(map(str, found))
        )
        if shutdown_overrun:
            shutdown_overrun.emit(ShutdownOverrun(f"{self.name}: component {part.name} {what}"))
        return found

    def _raise_errors(self) -> None:
        errors: list[Exception] = [self._failure] if self._failure is not None else []
        started = self._failure.__cause__ if self._failure is not None else None
        errors += [
            part.error
            for part in self._parts.values()
            if part.error is not None and part.error is not started
        ]
        if len(errors) == 1 and isinstance(errors[0], BackstayError):
            raise errors[0]
        if errors:
            raise ExceptionGroup(f"service {self.name!r} failed", errors)


async def run_hooks(grace: float = 30.0) -> ServiceRecord:
    """Run the hooks that were registered by `register_hook`, in their order; for programs without a service.

    Args:
        grace: seconds for all of them.

    Raises:
        ExceptionGroup: some failed; the others have run.

    Cancelled: those that run are given their budget; a second cancel cuts them.
    """

    async def nothing(leave: asyncio.Event) -> None:
        """Be the component whose end is the end of the service."""

    service = Service("shutdown hooks", grace=grace)
    service.task("program", nothing)
    return await service.run()
