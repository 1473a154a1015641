"""`shield`: a commit runs to its end, and only then is the request cut short.

A cancelled commit is the worst of both: the work may be done and nobody knows.
What the shield holds back are the two ends that a *request* can come to by
itself, its deadline and a client that left, for the whole request and for the
scopes between it and the shield. It cannot hold a cancel from outside (a server
that shuts down, `task.cancel()`), nor a `timeout()` block inside the request.
"""

from __future__ import annotations

import asyncio
from contextvars import Context, Token
from types import TracebackType

from backstay import context as ambient
from backstay._base import now
from backstay.errors import ScopeMisuse
from backstay.tasks._scope import Scope, current_scope
from backstay.tasks._served_scope import ServedScope

__all__ = ["Shield", "shield"]


class Shield:
    """What `shield()` returns; enter it with ``async with``."""

    __slots__ = ("_budget", "_context_token", "_held_timers", "_over", "_served", "_timer")

    def __init__(self, timeout: float) -> None:
        """Use `shield()`."""
        self._budget = timeout
        self._served: ServedScope | None = None
        self._held_timers: list[Scope] = []
        self._timer: asyncio.TimerHandle | None = None
        self._context_token: Token[ambient.Context] | None = None
        self._over = False

    async def __aenter__(self) -> Shield:
        """Hold back the end of the request.

        Raises:
            ScopeMisuse: this shield was entered before.
        """
        if self._context_token is not None:
            raise ScopeMisuse("a shield is used once: write 'async with shield():' for each block")
        scope = current_scope()
        between: list[Scope] = []
        while scope is not None and not isinstance(scope, ServedScope):
            between.append(scope)
            scope = scope.parent
        if scope is not None:
            self._served = scope
            scope.held += 1
            self._hold_timers(between)
            self._timer = asyncio.get_running_loop().call_later(
                self._budget, self._release, context=Context()
            )
        context, until = ambient.current(), now() + self._budget
        if context.deadline is not None and context.deadline < until:
            context = ambient.Context(until, "shield", self._budget, context.values)
        self._context_token = ambient.enter(context)
        return self

    def _hold_timers(self, between: list[Scope]) -> None:
        for scope in between:
            if scope._timer is not None:
                scope._timer.cancel()
                scope._timer = None
                self._held_timers.append(scope)

    def _release(self) -> bool:
        """Let go; return whether an end that was held back strikes now."""
        if self._over or self._served is None:
            return False
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        struck = self._served.release_hold()
        at = now()
        for scope in self._held_timers:
            if scope.state != "ended" and scope.deadline is not None:
                if scope.deadline <= at:
                    scope._on_deadline(None)
                    struck = True
                else:
                    scope._timer = scope._loop.call_later(
                        scope.deadline - at, scope._on_deadline, None
                    )
        self._held_timers.clear()
        return struck

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Deliver what was held back; an error of the block goes first."""
        if self._context_token is not None:
            ambient.leave(self._context_token)
        if self._release() and error is None:
            await asyncio.sleep(0)  # the cancel strikes here, and not somewhere later


def shield(timeout: float = 5.0) -> Shield:
    """Return a block that the request's deadline and a leaving client do not interrupt.

    ::

        async with shield():
            await ledger.commit(entry)       # finishes, also when the client is gone
            await outbox.publish(entry)

    What was held back is delivered when the block is left. Inside, `remaining()`
    is at least what is left of the shield's own time.

    Args:
        timeout: seconds for which the shield holds at most, > 0; a commit that
            hangs must not keep a request for ever.

    Raises:
        ValueError: `timeout` is not above 0.

    Cancelled: a cancel from outside (the server is told to stop at once) goes
    through; for that, make the commit idempotent.

    Cost: one timer and one context change.
    """
    if not timeout > 0:
        raise ValueError(f"a shield holds for more than 0 seconds, not {timeout!r}")
    return Shield(timeout)
