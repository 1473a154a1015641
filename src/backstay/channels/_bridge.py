"""The operations of a shared channel: under its lock, with tickets for those who wait.

The lock is held for a few microseconds and never while anybody waits, so to take
it inside an event loop is fine.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from backstay.channels._channel_state import CLOSED, NOTHING, Receiver, Sender
from backstay.channels._home import HomedState
from backstay.channels._tickets import Ticket
from backstay.sync._wake_queue import wake_queue

__all__ = ["lock_all", "receive", "send", "take_turn"]


async def take_turn() -> None:
    """Spend one fast operation of the running loop, or let it turn."""
    queue = wake_queue()
    if queue.credit <= 0:
        await queue.pause()
    queue.credit -= 1


async def send(channel: HomedState[Any], item: Any) -> None:
    """Send through a shared channel; see `Channel.send`."""
    await take_turn()
    assert channel._lock is not None
    with channel._lock:
        if channel.offer(item):
            return
        ticket = Ticket()
        entry: Sender = (ticket, item, None)
        channel._senders.append(entry)
    try:
        answer = await ticket.waiter
    except BaseException:
        with channel._lock:
            if ticket.claim_back():
                channel._senders.discard(entry)
        raise
    if answer is CLOSED:
        raise channel._closed_error("send on")


async def receive(channel: HomedState[Any]) -> Any:
    """Receive an item, or CLOSED, from a shared channel."""
    await take_turn()
    assert channel._lock is not None
    with channel._lock:
        item = channel.poll()
        if item is not NOTHING:
            return item
        ticket: Any = Ticket()
        entry: Receiver = ticket
        channel._receivers.append(entry)
    try:
        return await ticket.waiter
    except BaseException:
        with channel._lock:
            if ticket.claim_back():
                channel._receivers.discard(entry)
            elif ticket.value is not CLOSED:
                channel.give_back(ticket.value)
        raise


def lock_all(channels: list[HomedState[Any]]) -> ExitStack:
    """Take the locks of those channels that have one, each once, in the order of their `id`."""
    stack = ExitStack()
    for channel in sorted({id(c): c for c in channels}.values(), key=id):
        if channel._lock is not None:
            stack.enter_context(channel._lock)
    return stack
