"""How a multiloop ends: nothing lost, nothing run twice, no thread left behind.

The steps, in this order and no other:

1. **The block's own work ends.** The scope of the multiloop waits for its
   children or, when the block was left by an error or a cancel, cancels them.
   The proxies are among the children, so every job started in the block is over.
2. **The door closes to strangers.** From here only jobs that are inside may
   start more, since that is part of their work. Calls are counted at the door in
   the caller's thread before anything is queued; so whatever was accepted is
   counted, and there is no job between two chairs.
3. **Wait until nobody is inside.** Jobs of other scopes finish, or are cancelled
   when the block was left by an error or somebody cancels us meanwhile. The last
   one out closes the door for good, under the door's own lock.
4. **The watch stops.** It is the only thread besides the loops that moves jobs.
5. **The queues are closed and looked through.** Both kinds need the closed mark:
   a loop's own queue, or a thief could put what it holds into one that nobody
   will look at again; the global one, or what a retiring loop gives away would
   vanish there. They are empty by step 3; if they are not, callers are told.
6. **The loops stop**, each cancelling what its jobs had started behind their
   scopes' backs, closing its asynchronous generators and its executor.
7. **The threads are joined**, after each has said as its last act that it ends,
   so that the caller's loop waits without being blocked.

A cancel that strikes during steps 3 to 7 is kept and let go afterwards: threads
without an owner would be worse than a late cancel.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from backstay.multiloop._door import Door
from backstay.multiloop._job import Outcome
from backstay.multiloop._mailbox import Mailbox
from backstay.multiloop._scheduler import Scheduler

__all__ = ["shut_down", "wait_firmly"]

_log = logging.getLogger("backstay.multiloop")

_PATIENCE_S = 5.0  # seconds after which a loop that does not end is named in the log


async def shut_down(scheduler: Scheduler, door: Door, home: Mailbox, *, cancel: bool) -> None:
    """Do steps 2 to 7; step 1 is the scope's.

    Args:
        scheduler: what ends.
        door: counts the calls.
        home: the way back to the loop that waits here.
        cancel: whether jobs of other scopes are cancelled and not waited for.

    Cancelled: everything is cancelled, still waited for, and then it is let go.
    """
    loop = asyncio.get_running_loop()
    struck: asyncio.CancelledError | None = None
    empty = loop.create_future()
    door.drain(lambda: home.post(_settle, empty))  # 2
    if cancel:
        _cancel_inside(door)
    struck = await wait_firmly(empty, lambda: _cancel_inside(door))  # 3
    scheduler.sysmon.stop()  # 4; it sleeps for at most a look, and is woken
    for job in scheduler.close():  # 5
        if job.drop():  # the others were given up by their callers
            _log.error("multiloop %r: %s was still queued at its end", scheduler.name, job.name)
            job.home.post(job.deliver, Outcome(cancelled=True))
    struck = await _end_threads(scheduler, home) or struck  # 6, 7
    try:
        if struck is not None:
            raise struck
    finally:
        del struck


async def _end_threads(scheduler: Scheduler, home: Mailbox) -> asyncio.CancelledError | None:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    threads = scheduler.all()

    def on_ended(_: object) -> None:
        if not scheduler.threads:
            home.post(_settle, ended)

    scheduler.on_ended = on_ended
    for who in scheduler.threads:
        who.mailbox.post(who.stop)
    on_ended(None)
    slow = loop.call_later(_PATIENCE_S, _name_the_slow, scheduler)
    struck = await wait_firmly(ended, lambda: None)
    slow.cancel()
    for who in threads:
        who.join()
    return struck


def _name_the_slow(scheduler: Scheduler) -> None:
    for who in scheduler.threads:
        _log.warning(
            "multiloop %r: loop %s does not end: something blocks it", scheduler.name, who.name
        )


async def wait_firmly(
    future: asyncio.Future[None], on_cancel: Callable[[], object]
) -> asyncio.CancelledError | None:
    """Wait for `future` whatever happens; return the cancel that struck meanwhile, if any."""
    struck: asyncio.CancelledError | None = None
    waiting: Awaitable[object]
    while not future.done():
        waiting = asyncio.wait([future])
        try:
            await waiting
        except asyncio.CancelledError as error:
            struck = struck or error
            on_cancel()
    try:
        return struck
    finally:
        del struck


def _cancel_inside(door: Door) -> None:
    for job in door.inside():
        proxy = job.proxy
        if proxy is not None:
            job.home.post(proxy.cancel, "the multiloop that ran it ends")


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
