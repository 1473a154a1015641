"""What the order service does between requests: empty the outbox, learn what was shipped.

Each function here is one round; how often rounds run, and who owns them, is the variant's choice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from shop.bus import BusClient, BusError
from shop.business.states import State
from shop.order.book import Book
from shop.order.peers import Inventory
from shop.rpc import RpcError

log = logging.getLogger("shop.order")

BATCH = 200  # rows or messages per round
PAID, SHIPPED = "order.paid", "order.shipped"

Round = Callable[[], Awaitable[int]]
"""One round of work; returns how many items it handled."""


class Relay:
    """Carries paid orders to fulfilment and freed goods to inventory, in batches.

    Args:
        book: the order book.
        inventory: confirms and takes back goods.
        bus: carries the messages.
        timeout: seconds for one call to inventory; None waits for ever.
    """

    def __init__(
        self, book: Book, inventory: Inventory, bus: BusClient, timeout: float | None
    ) -> None:
        self._book = book
        self._inventory = inventory
        self._bus = bus
        self._timeout = timeout

    async def ship(self) -> int:
        """Hand paid orders over: confirm their goods, then publish them for fulfilment.

        Repeating it after a crash anywhere is harmless: both receivers drop what they had before.

        Returns:
            How many orders were handed over.
        """
        letters = await self._book.hand_over(BATCH)
        if not letters:
            return 0
        lost = frozenset(
            await self._inventory.confirm([letter.order_id for letter in letters], self._timeout)
        )
        if lost:
            log.error(
                "goods of paid orders are gone, a person must decide: %s", ", ".join(sorted(lost))
            )
            await self._book.finish(lost, State.NEEDS_HUMAN)
        await self._bus.publish(
            PAID,
            [
                (letter.order_id, f"{letter.order_id} {letter.payload}".encode())
                for letter in letters
                if letter.order_id not in lost
            ],
        )
        await self._book.delivered([letter.n for letter in letters])
        return len(letters)

    async def give_back(self) -> int:
        """Release the goods of orders that went nowhere.

        Returns:
            How many orders' goods were released.
        """
        letters = await self._book.letters("release", BATCH)
        if letters:
            await self._inventory.release([letter.order_id for letter in letters], self._timeout)
            await self._book.delivered([letter.n for letter in letters])
        return len(letters)

    async def learn(self) -> int:
        """Close the orders that fulfilment has shipped.

        Returns:
            How many orders were closed.
        """
        deliveries = await self._bus.pull(
            SHIPPED, "order", max_messages=BATCH, wait_s=1.0, lease_s=30.0
        )
        if deliveries:
            await self._book.finish(
                [delivery.payload.decode() for delivery in deliveries], State.DONE
            )
            await self._bus.ack(deliveries)
        return len(deliveries)


async def repeat(work: Round, pause_s: float, full: int = BATCH) -> None:
    """Run rounds until cancelled; after a full round the next follows at once.

    Args:
        work: one round.
        pause_s: seconds between rounds; also what makes batches out of single orders.
        full: items that make a round full: more are probably waiting.
    """
    while True:
        try:
            handled = await work()
        except Exception as error:
            # The border of this loop: whatever the round met, the next one tries again. A neighbour
            # that is away is no news worth a page of traceback; anything else is.
            name = getattr(work, "__qualname__", repr(work))
            away = isinstance(error, (RpcError, BusError))
            reason = error.details() if isinstance(error, RpcError) else error
            log.warning("%s: next try in 1 s: %s", name, reason, exc_info=not away)
            handled = 0
            await asyncio.sleep(1.0)
        if handled < full:
            await asyncio.sleep(pause_s)
