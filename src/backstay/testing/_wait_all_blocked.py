"""Wait until nobody else can go on: the way to say "now they are all waiting" without a sleep.

Prior art: trio's `wait_all_tasks_blocked`, and anyio's on asyncio.
"""

from __future__ import annotations

import asyncio
from typing import Any

from backstay.tasks import live_tasks
from backstay.testing._virtual_loop import VirtualLoop

__all__ = ["wait_all_blocked"]

# Turns of a real loop that must be quiet in a row. A chain of callbacks without a task is
# invisible on a loop written in C; chains in asyncio are at most three long.
_QUIET_TURNS = 4


async def wait_all_blocked() -> None:
    """Return once every other task waits for something.

    ::

        task = asyncio.create_task(reader())
        await wait_all_blocked()        # the reader has come to its first real wait
        assert not task.done()

    On a virtual or exploring loop this is exact: it returns when the loop would
    otherwise let time jump, and before it does. On a real loop it lets the others
    run until none of them could for several turns; what waits for a timer, for
    I/O or for a thread counts as blocked.

    A task that never waits, such as one around a bare ``sleep(0)``, is never
    blocked, and then this does not return.

    Cancelled: nothing is left behind.

    Cost: on a real loop, four turns of the loop after the others have come to rest.
    """
    loop = asyncio.get_running_loop()
    if isinstance(loop, VirtualLoop):
        await loop.when_blocked()
        return
    me = asyncio.current_task()
    quiet = 0
    while quiet < _QUIET_TURNS:
        await asyncio.sleep(0)
        quiet = quiet + 1 if _all_wait(loop, me) else 0


def _all_wait(loop: asyncio.AbstractEventLoop, me: asyncio.Task[Any] | None) -> bool:
    # The handles of the turn that are still to run, on loops that show them: none but us.
    if getattr(loop, "_ready", None):
        return False
    for task in live_tasks(loop):
        if task is me:
            continue
        waiter = getattr(task, "_fut_waiter", None)
        if waiter is None or waiter.done():
            return False
    return True
