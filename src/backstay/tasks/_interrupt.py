"""The right of one block to cancel the task that runs it.

asyncio's cancellation is a counter with one bit of delivery: `cancel()` raises
the count and arranges for one `CancelledError`; `uncancel()` lowers the count
and takes nothing back. A block that cancels its own host (because its deadline
passed, or a child failed) must therefore, on its way out,

1. lower the count by exactly what it had raised,
2. swallow the `CancelledError` it had ordered, also when it has not arrived yet
   (the body may have ended without another await), and
3. notice whether anybody else cancelled the host meanwhile, and let that go on.

`asyncio.timeout` and `asyncio.TaskGroup` each do parts of this; `Scope` and
`timeout()` share this one place.
"""

from __future__ import annotations

import asyncio
from typing import Any

from backstay.tasks._tracked_task import stamp_cancel

__all__ = ["Interrupt"]


class Interrupt:
    """Cancels the host of a block at most once, and settles the account on exit."""

    __slots__ = ("_asked", "_baseline", "_host")

    def __init__(self, host: asyncio.Task[Any]) -> None:
        """Take the account of `host` as it stands when the block is entered."""
        self._host = host
        self._baseline = host.cancelling()  # cancels from before our time are not ours to judge
        self._asked = False

    @property
    def asked(self) -> bool:
        """Whether this block has cancelled its host and not yet settled."""
        return self._asked

    def ask(self, why: str) -> None:
        """Cancel the host, once; later calls do nothing."""
        if not self._asked and not self._host.done():
            self._asked = True
            self._host.cancel()
            stamp_cancel(self._host, why)

    @property
    def outer(self) -> bool:
        """Whether somebody else has cancelled the host since the block was entered."""
        return self._host.cancelling() - self._asked > self._baseline

    async def swallow_pending(self) -> bool:
        """Receive a `CancelledError` that was ordered and has not arrived; return whether one was.

        Without this, a block that cancelled its host just before the body ended
        would hand a stray `CancelledError` to the next await after the block.
        """
        # `_must_cancel` is the delivery bit; both the C and the Python task have it.
        if getattr(self._host, "_must_cancel", False):
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                return True
        return False

    def settle(self) -> None:
        """Take our own cancel off the host's account."""
        if self._asked:
            self._asked = False
            self._host.uncancel()

    def rearm(self) -> None:
        """Order the delivery of somebody else's cancel again, after we consumed it.

        Used when an error leaves the block in place of the `CancelledError`: the
        cancel then strikes at the next await, and the count stays what it was.
        """
        self._host.uncancel()
        self._host.cancel()
