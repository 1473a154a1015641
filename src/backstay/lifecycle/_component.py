"""One part of a service: how it starts, how it is told to go, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Any, Literal

from backstay._base import now
from backstay.tasks import Scope, timeout

__all__ = [
    "Component",
    "ComponentRecord",
    "ComponentState",
    "Live",
    "hook_of",
    "open_of",
    "task_of",
]

ComponentState = Literal["waiting", "starting", "running", "stopping", "ended"]

_GATE_S = 0.1  # seconds between two looks of a readiness gate


@dataclass(frozen=True, slots=True)
class ComponentRecord:
    """How one component did."""

    name: str
    state: ComponentState
    start_s: float | None  # seconds that its start took; None when it has not started
    stop_s: float | None  # seconds that its stop took; None when it has not ended
    error: str  # what it failed with, as "Type: message"; "" when it did not
    cut: bool  # its stop took longer than its budget, and was cancelled
    abandoned: bool  # it did not even end when it was cancelled


Live = Callable[["Component"], Awaitable[None]]
"""Starts the component, says so by `started`, waits for `leave`, and stops it."""


class Component:
    """A part with its own task; driven by the `Service` that it belongs to.

    Attributes:
        name: of the component.
        needs: who must have started before it, and must not stop before it.
        start_within: seconds for the start, its readiness gate included.
        budget: seconds for the stop.
        value: what its start has returned.
        state: where it is.
        error: what it failed with.
        due: when its patience is over, while it stops; seconds on the clock of `now()`.
        cut: whether its stop was cancelled.
        abandoned: whether it lives on in spite of that.
        is_hook: whether it is there for the stop alone; then its start is never cut short.
    """

    __slots__ = (
        "_live", "_task", "abandoned", "began", "budget", "cut", "due", "error", "is_hook", "leave", "name",
        "needs", "start_s", "start_within", "state", "stop_s", "told", "value",
    )  # fmt: skip

    def __init__(
        self, name: str, live: Live, needs: tuple[str, ...], start_within: float, budget: float
    ) -> None:
        """Describe it; nothing starts before `begin`."""
        self.name = name
        self.needs = needs
        self.start_within = start_within
        self.budget = budget
        self.value: Any = None
        self.state: ComponentState = "waiting"
        self.error: Exception | None = None
        self.due = float("inf")
        self.cut = self.abandoned = False
        self.began = self.told = 0.0
        self.start_s: float | None = None
        self.stop_s: float | None = None
        self.leave = asyncio.Event()
        self.is_hook = False
        self._live = live
        self._task: asyncio.Task[None] | None = None

    @property
    def task(self) -> asyncio.Task[None] | None:
        """Its task, while it has one."""
        return self._task

    @property
    def alive(self) -> bool:
        """Whether there is anything of it that has to be stopped."""
        return self.state in ("starting", "running", "stopping")

    def begin(self, moved: Callable[[], None]) -> None:
        """Start it in a task of its own; `moved` is called whenever its state has changed."""
        self.state = "starting"
        self.began = now()
        loop = asyncio.get_running_loop()
        # Not a child of a scope: one that does not end must not hold up the others.
        self._task = loop.create_task(self._run(), name=f"component {self.name}")
        # Not at the end of the coroutine: one that is cancelled before its first step never runs.
        self._task.add_done_callback(lambda _: self._ended(moved))

    def started(self, value: Any, moved: Callable[[], None]) -> None:
        """Say, from within, that it is up."""
        self.value = value
        if self.state == "starting":
            self.state = "running"
            self.start_s = now() - self.began
        moved()

    def tell(self, at: float, due: float) -> None:
        """Ask it to stop until `due`; one that is still starting is cancelled."""
        starting = self.state == "starting" and not self.is_hook
        self.state = "stopping"
        self.told, self.due = at, due
        self.leave.set()
        if starting and self._task is not None:
            self._task.cancel()

    def cancel(self, due: float) -> None:
        """Its patience is over: cancel its stop."""
        self.cut, self.due = True, due
        if self._task is not None:
            self._task.cancel()

    def abandon(self) -> None:
        """It did not end when it was cancelled: go on without it."""
        self.abandoned, self.state, self.due = True, "ended", float("inf")

    def record(self) -> ComponentRecord:
        """Return how it did so far."""
        error = "" if self.error is None else f"{type(self.error).__name__}: {self.error}"
        return ComponentRecord(
            self.name, self.state, self.start_s, self.stop_s, error, self.cut, self.abandoned
        )

    def _ended(self, moved: Callable[[], None]) -> None:
        if self.state != "ended":
            self.stop_s = now() - self.told if self.state == "stopping" else None
            self.state, self.due = "ended", float("inf")
        moved()

    async def _run(self) -> None:
        try:
            async with Scope(self.name, kind="component", on_exit="cancel"):
                await self._live(self)
        except asyncio.CancelledError:
            pass  # we have asked for it; nobody awaits this task
        except Exception as error:
            error.add_note(f"raised by component {self.name!r}")
            self.error = error


def open_of(
    factory: Callable[[], AbstractAsyncContextManager[Any]],
    ready: Callable[[Any], Awaitable[bool]] | None,
    moved: Callable[[], None],
) -> Live:
    """Make the life of a component that is an async context manager."""

    async def live(component: Component) -> None:
        async with AsyncExitStack() as stack:
            async with timeout(component.start_within, name=f"start of {component.name}"):
                value = await stack.enter_async_context(factory())
                while ready is not None and not await ready(value):
                    await asyncio.sleep(_GATE_S)
            component.started(value, moved)
            await component.leave.wait()

    return live


def task_of(work: Callable[[asyncio.Event], Awaitable[object]], moved: Callable[[], None]) -> Live:
    """Make the life of a component that works until it is told to leave."""

    async def live(component: Component) -> None:
        component.started(None, moved)
        await work(component.leave)

    return live


def hook_of(work: Callable[[], Awaitable[object]], moved: Callable[[], None]) -> Live:
    """Make the life of a component that only has a stop."""

    async def live(component: Component) -> None:
        component.started(None, moved)
        await component.leave.wait()
        await work()

    return live
