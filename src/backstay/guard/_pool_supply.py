"""Opens and closes what a pool lends, in tasks of its own, and counts places.

A task may be cancelled before its first step, and whatever is opened may raise
`CancelledError` by itself. So places are given back where a task *ends*, in its
callback, and not in a `finally` that never began.

Invariant: each place in `opening` belongs to a task that opens, and each in `closing`
to one that closes; `closing` is part of `total`.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import AbstractEventLoop, Task
from collections.abc import Awaitable, Callable
from contextvars import Context
from inspect import CORO_CREATED, getcoroutinestate, isawaitable, iscoroutine
from typing import Any, Generic, Protocol, TypeVar

from backstay.errors import GuardMisuse
from backstay.tasks import Scope

__all__ = ["PATIENCE_S", "Customer", "Supply"]

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

_log = logging.getLogger("backstay.pool")

PATIENCE_S = 5.0  # a close or a check that hangs must not keep its place for ever


class Customer(Protocol[T_contra]):
    """Who hears of it: the pool."""

    def _came(self, value: T_contra) -> None:
        """One was opened."""

    def _failed(self, error: Exception) -> None:
        """One was not."""

    def _place_is_free(self) -> None:
        """One was closed."""

    def _must_end(self) -> None:
        """Nothing can be opened any more: the loop closes."""


class Supply(Generic[T]):
    """The places of a pool, and the tasks that fill and empty them.

    Attributes:
        total: how many are open, those that are being closed included.
        opening: how many are being opened.
        closing: how many are being closed.
    """

    __slots__ = (
        "_close",
        "_customer",
        "_end",
        "_keeper",
        "_late",
        "_loop",
        "_open",
        "_openers",
        "_scope",
        "_title",
        "closing",
        "opening",
        "total",
    )

    _loop: AbstractEventLoop
    _scope: Scope

    def __init__(
        self,
        open: Callable[[], Awaitable[T]],  # noqa: A002 - what it does
        close: Callable[[T], Awaitable[object] | object] | None,
        customer: Customer[T],
    ) -> None:
        """Nothing is opened before it is asked for."""
        self._open = open
        self._close = close
        self._customer = customer
        self._title = "pool"
        self._keeper: Task[None] | None = None
        self._end = asyncio.Event()
        self._openers: set[Task[None]] = set()
        self._late: set[Task[None]] = set()  # close what came back after the end
        self.total = self.opening = self.closing = 0

    # -- its life ----------------------------------------------------------------

    @property
    def began(self) -> bool:
        """Whether it was ever asked to begin."""
        return self._keeper is not None

    @property
    def ends(self) -> bool:
        """Whether it was told to end, or has."""
        return self._end.is_set()

    async def begin(self, loop: AbstractEventLoop, title: str) -> None:
        """Be ready to open.

        Raises:
            GuardMisuse: the loop closes.

        Cancelled: it ends by itself.
        """
        self._loop, self._title = loop, title
        began = loop.create_future()
        # Not by the scope around: the pool may outlive a request that happens to be first, and
        # what surrounds the block must not become the surroundings of what is opened in it.
        self._keeper = loop.create_task(self._keep(began), name=title)
        self._keeper.add_done_callback(lambda _: self._never_began(began))
        try:
            await began
        except BaseException:
            self._end.set()
            raise

    async def _keep(self, began: asyncio.Future[None]) -> None:
        """Hold the scope open in which resources are opened and closed."""
        try:
            async with Scope(self._title, kind="pool", on_error="collect", detached=True) as scope:
                self._scope = scope
                if not began.done():
                    began.set_result(None)
                try:
                    await self._end.wait()
                except asyncio.CancelledError:
                    # Only the end of the loop cancels us. The block is not left with the error:
                    # what is idle is closed by children of the scope, for which the loop waits
                    # with us.
                    self._end.set()
                    self._customer._must_end()
        finally:
            while self._late:
                await asyncio.wait(self._late)

    def _never_began(self, began: asyncio.Future[None]) -> None:
        """Let nobody wait for a keeper that was cancelled before its first step."""
        self._end.set()
        if not began.done():
            began.set_exception(GuardMisuse(f"{self._title} was entered while its loop closes"))

    async def end(self) -> None:
        """Wait until all that is being opened or closed has ended.

        Cancelled: it ends all the same.
        """
        assert self._keeper is not None
        self._end.set()
        # `wait` does not cancel what it waits for when we are cancelled here.
        await asyncio.wait([self._keeper])
        while self._late:
            await asyncio.wait(self._late)

    def _takes_work(self) -> bool:
        return self._scope.state != "ended" and self._scope.cause is None

    # -- opening -----------------------------------------------------------------

    def open(self) -> bool:
        """Begin to open one; False when that cannot be done any more."""
        if not self._takes_work():
            return False
        self.opening += 1
        task = self._scope.go(self._open_one)
        if not task.done():
            self._openers.add(task)
        task.add_done_callback(self._opener_ended)
        return True

    async def _open_one(self) -> None:
        try:
            value = await self._open()
        except Exception as error:
            self.opening -= 1
            self._customer._failed(error)
            return
        self.opening -= 1
        self.total += 1
        self._customer._came(value)

    def _opener_ended(self, task: Task[None]) -> None:
        self._openers.discard(task)
        if task.cancelled() or task.exception() is not None:
            self.opening -= 1
            self._customer._failed(RuntimeError(f"{self._title}: opening one was cancelled"))

    def stop_opening(self) -> None:
        """Cancel what is being opened: nobody wants it any more."""
        for task in list(self._openers):
            task.cancel(f"{self._title} closes")

    # -- closing -----------------------------------------------------------------

    def close(self, value: T) -> None:
        """Close one that nobody holds; its place is free when that is done."""
        if self._close is None:
            self.total -= 1
            self._customer._place_is_free()
            return
        self.closing += 1
        ending: Any = None
        try:
            ending = self._close(value)
        except Exception as error:
            self._tell_of(value, error)
        finally:
            if not isawaitable(ending):
                self._closed()
        if isawaitable(ending):
            self._close_in_task(value, ending)

    def _close_in_task(self, value: T, ending: Awaitable[object]) -> None:
        if self._takes_work():
            task = self._scope.go(self._close_one, value, ending)
            task.add_done_callback(lambda task: self._close_ended(task, value, ending))
        else:
            self._close_late(value, ending)

    def _close_late(self, value: T, ending: Awaitable[object]) -> None:
        """Close what came back after the end, or amid it: no scope can own that any more."""
        if self._loop.is_closed():
            self._give_up(value, ending, RuntimeError("its event loop is closed"))
            return
        closing = self._close_one(value, ending)
        task = self._loop.create_task(closing, name=self._title, context=Context())
        self._late.add(task)
        task.add_done_callback(lambda task: self._close_ended(task, value, ending))

    def _close_ended(self, task: Task[None], value: T, ending: Awaitable[object]) -> None:
        was_late = task in self._late
        self._late.discard(task)
        if not task.cancelled():
            self._closed()
        elif was_late or not iscoroutine(ending) or getcoroutinestate(ending) != CORO_CREATED:
            self._give_up(value, ending, asyncio.CancelledError())
        else:  # cut together with the scope, before its first step
            self._close_late(value, ending)

    def _give_up(self, value: T, ending: Awaitable[object], error: BaseException) -> None:
        if iscoroutine(ending):
            ending.close()  # it may never have begun
        self._tell_of(value, error)
        self._closed()

    async def _close_one(self, value: T, ending: Awaitable[object]) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                await ending
        except Exception as error:
            self._tell_of(value, error)

    def _closed(self) -> None:
        self.closing -= 1
        self.total -= 1
        self._customer._place_is_free()

    def _tell_of(self, value: T, error: BaseException) -> None:
        _log.warning("%s: closing %r failed: %r", self._title, value, error)
