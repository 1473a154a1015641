"""The application's own scope: where adopted tasks live, from start-up to shutdown.

It stands in a task of its own, because the server's lifespan task may not exist
(many applications support no lifespan) and must not be cancelled for the failure
of a background task.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import Any

from backstay.integrations.asgi._failure_log import log
from backstay.tasks import Scope, info, set_owner

__all__ = ["AppHome"]

Task = asyncio.Task[Any]

_LAST_CALL_S = 1.0  # how long a cancelled task may take to clean up at shutdown


class AppHome:
    """The scope named "app" of one guard on one loop, opened when first needed."""

    __slots__ = ("_adopted", "_host", "_loop", "_stop", "scope")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing is opened yet."""
        self._loop = loop
        self._adopted: set[Task] = set()
        self._host: asyncio.Task[None] | None = None
        self._stop: asyncio.Future[None] = loop.create_future()
        self.scope = Scope("app", kind="app", on_exit="cancel", on_error="collect")

    @property
    def alive(self) -> int:
        """How many adopted tasks are running."""
        return len(self._adopted)

    def open(self) -> None:
        """Open the scope; idempotent. It is entered in the next turn of the loop."""
        if self._host is None:
            # The one task here that no scope starts: it is what holds a scope open. An
            # empty context, so that it belongs to nobody and keeps no request alive.
            self._host = self._loop.create_task(
                self._hold_open(), name="backstay-app", context=Context()
            )

    async def opened(self) -> None:
        """Open the scope and wait until it can own tasks."""
        self.open()
        while self.scope.state == "new":
            await asyncio.sleep(0)

    async def _hold_open(self) -> None:
        try:
            async with self.scope:
                await self._stop
        except Exception as error:
            log.error("background tasks of the application failed", exc_info=error)

    def adopt(self, task: Task) -> None:
        """Own `task` from now on."""
        self.open()
        # Not `Scope.take`: one failing stranger must neither end the others nor pile up
        # as an error until shutdown.
        set_owner(task, self.scope)
        self._adopted.add(task)
        task.add_done_callback(self._on_done)

    def _on_done(self, task: Task) -> None:
        self._adopted.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error(
                "adopted task %r (started at %s) failed: %s",
                task.get_name(),
                info(task).site,
                type(error).__name__,
                exc_info=error,
                extra={"owner": "app", "trace_id": None},
            )

    async def drain(self, timeout: float, others: list[Task]) -> None:
        """Let adopted tasks finish, then cancel what is left and name what will not end.

        Args:
            timeout: seconds for the tasks to finish by themselves.
            others: tasks that are cancelled already and are only waited for.
        """
        if self._adopted:
            await asyncio.wait(set(self._adopted), timeout=timeout)
        left = set(self._adopted)
        for task in left:
            task.cancel()
        left.update(others)
        if left:
            _, left = await asyncio.wait(left, timeout=_LAST_CALL_S)
        for task in left:
            log.error(
                "at shutdown task %r (started at %s) still runs after it was cancelled",
                task.get_name(),
                info(task).site,
            )

    async def close(self) -> None:
        """Close the scope; what was started in it with `go` is cancelled and awaited, for a while."""
        if not self._stop.done():
            self._stop.set_result(None)
        if self._host is not None and not self._host.done():
            await asyncio.wait({self._host}, timeout=_LAST_CALL_S)
