"""An inbox: which messages have had their effect, written down in the transaction of the effect.

A broker delivers at least once. To make that exactly one *effect*, what a message does and the
note that it was done must become true together, or not at all; then a second delivery finds
the note. No lock and no cache beside the database can do that, so the note is kept where the effect is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol, TypeVar

__all__ = ["Inbox", "MemoryInbox", "MemoryTransaction", "once"]

T = TypeVar("T")


class Inbox(Protocol[T]):
    """A store of effects that also notes the ids of messages.

    Both methods fit a database: the one is its transaction, the other an
    ``INSERT … ON CONFLICT DO NOTHING`` in it.
    """

    def transaction(self) -> AbstractAsyncContextManager[T]:
        """Open a transaction: all that is done by it counts when the block is left, nothing on an error."""
        ...

    async def begin(self, transaction: T, message_id: str) -> bool:
        """Note the message in the transaction; True when it had been noted before.

        When another transaction has noted it and is not over, wait for it, or fail at the end.
        """
        ...


async def once(inbox: Inbox[T], message_id: str, effect: Callable[[T], Awaitable[object]]) -> bool:
    """Let a message have its effect, if it has not had it before.

    ::

        async def ship(delivery: Delivery) -> None:
            async def book(transaction: SqliteTransaction) -> None:
                await transaction.execute("INSERT INTO shipment VALUES (?)", (delivery.payload,))

            await once(inbox, delivery.message_id, book)

    Args:
        inbox: where effects are kept.
        message_id: the publisher's name of the message: `Delivery.message_id`.
        effect: all that the message does, by the transaction that it is given. What it does elsewhere
            is not undone, and may be done twice.

    Returns:
        False when the message has had its effect before.

    Raises:
        Exception: of the effect or of the store; then there was no effect.

    Cancelled: there was no effect, unless the store was about to commit.
    """
    async with inbox.transaction() as transaction:
        if await inbox.begin(transaction, message_id):
            return False
        await effect(transaction)
    return True


class MemoryTransaction:
    """What a `MemoryInbox` has noted and not kept yet."""

    __slots__ = ("noted",)

    def __init__(self) -> None:
        """Begin with nothing."""
        self.noted: list[str] = []


class MemoryInbox:
    """Notes ids in memory: for tests, and for effects that end with the process.

    An effect that fails is forgotten, so it should be the last thing that its handler does: in
    memory there is nothing to roll back.
    """

    def __init__(self, *, keep: int = 100_000) -> None:
        """Have seen nothing.

        Args:
            keep: ids to remember, the newest ones, >= 1. More than can come again.

        Raises:
            ValueError: it is not 1 or more.
        """
        if keep < 1:
            raise ValueError(f"an inbox keeps 1 id or more, not {keep!r}")
        self._keep = keep
        self._seen: dict[str, None] = {}
        self._open: set[str] = set()  # noted by transactions that are not over
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        """Return how many ids it remembers."""
        return len(self._seen)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[MemoryTransaction]:
        """Open a transaction; see `Inbox`."""
        transaction = MemoryTransaction()
        try:
            yield transaction
            for message_id in transaction.noted:
                self._seen[message_id] = None
            while len(self._seen) > self._keep:
                del self._seen[next(iter(self._seen))]
        finally:
            self._open.difference_update(transaction.noted)
            self._changed.set()

    async def begin(self, transaction: MemoryTransaction, message_id: str) -> bool:
        """Note a message; see `Inbox`. Waits for another transaction that has noted it."""
        while message_id in self._open and message_id not in transaction.noted:
            self._changed.clear()
            await self._changed.wait()
        if message_id in self._seen or message_id in transaction.noted:
            return True
        self._open.add(message_id)
        transaction.noted.append(message_id)
        return False
