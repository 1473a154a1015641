"""The right of one block to cancel the task that runs it.

asyncio's cancellation is a counter with one bit of delivery: `cancel()` raises
the count and arranges for one `CancelledError`; `uncancel()` lowers the count
and takes nothing back. A block that cancels its own host (because its deadline
passed, or a child failed) must therefore, on its way out,

1. lower the count by exactly what it had raised,
2. swallow the `CancelledError` it had ordered, also when it has not arrived yet
   (the body may have ended without another await), and
3. notice whether anybody else cancelled the host meanwhile, and let that go on,
   with the words it came with: anyio tells its own cancels by their message.

`asyncio.timeout` and `asyncio.TaskGroup` each do parts of this; `Scope` and
`timeout()` share this one place.
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from contextvars import Context
from typing import Any

from backstay.tasks._tracked_task import cancel_again, stamp_cancel

__all__ = ["Interrupt"]


class Interrupt:
    """Cancels the host of a block at most once, and settles the account on exit."""

    __slots__ = ("_asked", "_baseline", "_host", "_words")

    def __init__(self, host: asyncio.Task[Any]) -> None:
        """Take the account of `host` as it stands when the block is entered."""
        self._host = host
        # Cancels from before our time are not ours to judge; but one that is ordered and not
        # delivered yet will strike inside the block, and is an outer one like any other.
        self._baseline = host.cancelling() - _is_pending(host)
        self._asked = False
        self._words: tuple[Any, ...] = ()  # of the outer cancel that we have received

    def enter_clean(self) -> None:
        """Set the account to zero: for one that is opened late, and whose host was clean on entry."""
        self._baseline = 0

    @property
    def asked(self) -> bool:
        """Whether this block has cancelled its host and not yet settled."""
        return self._asked

    def ask(self, why: str) -> None:
        """Cancel the host, once; later calls do nothing."""
        host = self._host
        if not self._asked and not host.done():
            # One delivery serves all who cancel in this turn: leave them their message.
            message = getattr(host, "_cancel_message", None) if self.outer else None
            self._asked = True
            host.cancel(message)
            stamp_cancel(host, why)

    @property
    def outer(self) -> bool:
        """Whether somebody else has cancelled the host since the block was entered."""
        return self._host.cancelling() - self._asked > self._baseline

    async def swallow_pending(self) -> bool:
        """Receive a `CancelledError` that was ordered and has not arrived; return whether one was.

        Without this, a block that cancelled its host just before the body ended
        would hand a stray `CancelledError` to the next await after the block.
        """
        if _is_pending(self._host):
            try:
                await asyncio.sleep(0)
            except CancelledError as error:
                self.note(error)
                return True
        return False

    def note(self, received: CancelledError) -> None:
        """Remember the words of a `CancelledError` that we received in the place of the caller."""
        if received.args:
            self._words = received.args

    def outer_error(self, body: BaseException | None) -> CancelledError:
        """Return the `CancelledError` as which somebody else's cancel goes on.

        Args:
            body: what the block ended with: the error itself, unless what it was
                ended with was our own.
        """
        if isinstance(body, CancelledError) and (body.args or not self._words):
            return body
        return CancelledError(*self._words)

    async def conclude(self, fired: Exception, error: BaseException | None) -> None:
        """Leave a block that struck its host: settle the account, and raise what goes on.

        Args:
            fired: why the block struck; raised when that is what ended it.
            error: what the body ended with.

        Raises:
            Exception: `fired`, when our own cancel is what ended the body.
            CancelledError: somebody else's cancel goes on.
        """
        if isinstance(error, GeneratorExit):  # a coroutine that is being closed may not wait
            self.settle()
            return
        cancelled = isinstance(error, CancelledError)
        swallowed = await self.swallow_pending()
        outer = self.outer
        self.settle()
        if outer:
            if cancelled:
                goes_on = self.outer_error(error)
                if goes_on is not error:
                    raise goes_on
            elif swallowed:
                self.rearm()  # what we received in the place of the caller strikes again
            return
        if cancelled:
            raise fired from error

    def settle(self) -> None:
        """Take our own cancel off the host's account."""
        if self._asked:
            self._asked = False
            self._host.uncancel()

    def rearm(self) -> None:
        """Order the delivery of somebody else's cancel again, after we consumed it.

        Used when an error leaves the block in place of the `CancelledError`: the
        cancel then strikes at the next await, and the count stays what it was.
        Unless, that is, the block whose cancel it was (`asyncio.timeout`, a cancel
        scope of anyio) is left on the way there and takes it back: hence the
        order is given in the next turn, and only if the count still stands.
        """
        self._host.get_loop().call_soon(
            _strike_again, self._host, self._baseline, self._words, context=Context()
        )


def _is_pending(host: asyncio.Task[Any]) -> bool:
    # `_must_cancel` is the delivery bit; both the C and the Python task have it.
    return getattr(host, "_must_cancel", False)


def _strike_again(host: asyncio.Task[Any], baseline: int, words: tuple[Any, ...]) -> None:
    if not host.done() and host.cancelling() > baseline:
        cancel_again(host, *words[:1])
