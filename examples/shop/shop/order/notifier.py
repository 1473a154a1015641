"""Telling the customer, without ever waiting for the gateway and without forgetting anybody.

The notification is an outbox row, written with the paid order. The first attempt follows at
once, in a scope with a limit: a slow gateway can hold that many tasks and not one more. What
finds no place or gets no answer stays in the outbox, and a later round tries again.
"""

from __future__ import annotations

import asyncio
import logging

import aiohttp

import backstay
from backstay.errors import DeadlineExceeded, FullError
from shop.order.book import Book, Letter
from shop.order.peers import NoticeRefused, send_notice

log = logging.getLogger("shop.order")

PLACES = (
    16  # notifications under way: four times what a healthy gateway (20 ms) needs at 200 orders/s
)
PATIENCE_S = 1.0  # for one attempt
RETRY_CEILING_S = 60.0
RETRY_BATCH = 8  # half of the places: a backlog must not keep fresh notifications out


class Notifier:
    """Sends notifications from a scope that bounds them.

    Args:
        scope: open, with `max_tasks`; owned by the application, since a notification outlives its request.
        session: the HTTP client.
        gateway: http://host:port.
        book: holds the outbox.
    """

    def __init__(
        self, scope: backstay.Scope, session: aiohttp.ClientSession, gateway: str, book: Book
    ) -> None:
        self._scope = scope
        self._session = session
        self._gateway = gateway
        self._book = book
        # Rows to forget at the next round. Bounded by how many the scope can finish between two rounds.
        self._arrived: list[int] = []

    def send_soon(self, letter: Letter) -> None:
        """Make the first attempt, if there is a place for it.

        Args:
            letter: the outbox row, already durable.
        """
        try:
            self._scope.go(self._attempt, letter)
        except FullError:
            pass  # nothing is lost: the row stays, and retry() finds it

    async def retry(self) -> int:
        """Forget what arrived and try again what is due: one round for `relay.repeat`.

        Returns:
            How many arrived: only then it pays to go on at once.
        """
        await self.flush()
        letters = await self._book.letters("notify", RETRY_BATCH)
        if not letters:
            return 0
        tasks = [await self._scope.go_wait(self._attempt, letter) for letter in letters]
        await asyncio.wait(tasks)
        failed = [letter for letter, task in zip(letters, tasks, strict=True) if not task.result()]
        if failed:
            await self._book.failed(failed, RETRY_CEILING_S)
        await self.flush()
        return len(letters) - len(failed)

    async def flush(self) -> None:
        """Remove the rows of what arrived, many in one transaction."""
        if self._arrived:
            arrived, self._arrived = self._arrived, []
            await self._book.delivered(arrived)

    async def _attempt(self, letter: Letter) -> bool:
        try:
            async with backstay.timeout(PATIENCE_S):
                await send_notice(self._session, self._gateway, letter.order_id, letter.payload)
        except (DeadlineExceeded, NoticeRefused, aiohttp.ClientError, OSError) as error:
            log.debug("notification for order %s failed: %r", letter.order_id, error)
            return False
        self._arrived.append(letter.n)
        return True
