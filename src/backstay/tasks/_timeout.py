"""A deadline around a block that owns nothing.

Use it where a call must end in time and starts no tasks of its own. Where tasks
are started, use `Scope(timeout=...)`, which also ends them.
"""

from __future__ import annotations

import asyncio
from contextvars import Context, Token
from types import TracebackType
from typing import Any, Literal

from backstay import context as ambient
from backstay._base import now
from backstay.errors import DeadlineExceeded, ScopeMisuse
from backstay.tasks._interrupt import Interrupt
from backstay.tasks._scope import current_scope

__all__ = ["Timeout", "deadline_at", "is_watched", "timeout"]


class Timeout:
    """What `timeout()` and `deadline_at()` return; enter it with ``async with``.

    Cancelled: a cancel from outside goes through untouched, also when the
    deadline passes in the same turn of the loop.
    """

    __slots__ = ("_at", "_fired", "_interrupt", "_name", "_seconds", "_timer", "_token")

    def __init__(self, name: str, *, seconds: float | None, at: float | None) -> None:
        """Use `timeout()` or `deadline_at()`."""
        self._name = name
        self._seconds = seconds
        self._at = at
        self._fired: DeadlineExceeded | None = None
        self._interrupt: Interrupt | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._token: Token[ambient.Context] | None = None

    async def __aenter__(self) -> Timeout:
        """Start the clock.

        Raises:
            ScopeMisuse: it was entered before, or no task is running.
        """
        host = asyncio.current_task()
        if host is None or self._interrupt is not None:
            raise ScopeMisuse(
                f"{self._name} needs a running task, and each block its own: "
                f"write 'async with timeout(...)' inside an async function"
            )
        self._interrupt = Interrupt(host)
        at = self._at if self._seconds is None else now() + self._seconds
        assert at is not None
        outer = ambient.current()
        inner = outer.with_deadline(at, self._name, self._seconds)
        if inner is not outer:
            self._token = ambient.enter(inner)
        deadline = inner.deadline
        assert deadline is not None
        if not is_watched(host, deadline):  # an earlier ambient one may be nobody's in this task
            setter = inner.deadline_setter or self._name
            # An empty context: a cancelled timer would keep the caller's values for a while.
            self._timer = asyncio.get_running_loop().call_later(
                max(0.0, deadline - now()),
                self._on_deadline,
                setter,
                inner.timeout,
                context=Context(),
            )
        return self

    def _on_deadline(self, setter: str, seconds: float | None) -> None:
        self._timer = None
        self._fired = DeadlineExceeded(setter, seconds)
        assert self._interrupt is not None
        self._interrupt.ask(str(self._fired))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Literal[False]:
        """Stop the clock; raise `DeadlineExceeded` when it ran out and cut the block."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._token is not None:
            ambient.leave(self._token)
        interrupt, fired = self._interrupt, self._fired
        self._fired = None
        if interrupt is not None and fired is not None:
            await interrupt.conclude(fired, error)
        return False


def is_watched(host: asyncio.Task[Any], deadline: float) -> bool:
    """Whether a scope around the caller will cut `host` at the ambient deadline."""
    scope = current_scope()
    while scope is not None and scope.state == "ended":
        scope = scope.parent
    return scope is not None and scope._watches(host, deadline)


def timeout(seconds: float, *, name: str = "timeout") -> Timeout:
    """Return a block that ends after `seconds`, at the latest.

    ::

        async with timeout(0.5):
            await client.fetch(url)

    The deadline is ambient: what is called inside sees it by `remaining()`, and
    an earlier one around the block stays in force.

    Args:
        seconds: how long the block may take, >= 0.
        name: shows up as `DeadlineExceeded.scope`.

    Raises:
        ValueError: `seconds` is negative or not a number.
        DeadlineExceeded: on leaving the block, when the time ran out.

    Cost: one timer and one context change.
    """
    if not seconds >= 0:
        raise ValueError(f"a timeout is at least 0 seconds, not {seconds!r}")
    return Timeout(name, seconds=seconds, at=None)


def deadline_at(at: float, *, name: str = "deadline") -> Timeout:
    """Return a block that ends at `at`, in seconds on the clock of `backstay.now()`.

    Raises:
        DeadlineExceeded: on leaving the block, when the time ran out.
    """
    return Timeout(name, seconds=None, at=at)
