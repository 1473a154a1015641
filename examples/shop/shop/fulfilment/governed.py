"""The fulfilment service under Backstay: a batch is a scope, and the next one waits for it.

Nothing is taken from the bus that cannot be worked on: when the warehouse is slow, messages wait
where they are safe, and not in this process.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp
import uvloop

import backstay
from backstay import Scope
from backstay.errors import DeadlineExceeded
from backstay.lifecycle import Service, run_service
from shop.bus import BusClient, BusError, Delivery
from shop.business.schema import FULFILMENT
from shop.fulfilment.warehouse import (
    GROUP,
    PAID,
    SHIPPED,
    WarehouseTrouble,
    note,
    read_message,
    request_shipment,
)
from shop.readiness import readiness_door
from shop.settings import settle_in
from shop.storage import Store, StoreError

log = logging.getLogger("shop.fulfilment")

PLACES = 16  # shipments requested from the warehouse at once
BATCH = 64  # messages taken at once
PATIENCE_S = 5.0  # for one answer of the warehouse
LEASE_S = 60.0  # longer than a batch of 64 over 16 places can take with every answer late
PAUSE_S = 0.1  # between batches; what makes batches out of single messages
RETRY_S = 1.0
BATCH_S = 22.0  # what a batch may take at the end: four rounds of patience, and the bookkeeping
GRACE_S = 25.0  # from the signal to the exit


class Consumer:
    """Carries paid orders to the warehouse, a batch at a time.

    Args:
        store: notes what was shipped.
        bus: where the orders come from.
        session: the HTTP client.
        wms: http://host:port.
    """

    def __init__(
        self, store: Store, bus: BusClient, session: aiohttp.ClientSession, wms: str
    ) -> None:
        self._store = store
        self._bus = bus
        self._session = session
        self._wms = wms

    async def run(self, leave: asyncio.Event) -> None:
        """Consume until told to leave; the batch in hand is finished, and no other one is taken.

        Cancelled: messages in hand come again when their lease ends.
        """
        while not leave.is_set():
            try:
                await self.batch()
            except Exception as error:
                # The border of this loop: what was not acknowledged comes again. A neighbour that
                # is away is no news worth a page of traceback; anything else is.
                away = isinstance(error, (BusError, StoreError))
                log.warning("batch given up, next try in 1 s: %s", error, exc_info=not away)
                await asyncio.sleep(RETRY_S)
            await asyncio.sleep(PAUSE_S)

    async def batch(self) -> int:
        """Take messages, ship them, note them, announce them, acknowledge them.

        Returns:
            How many were taken.
        Cancelled: messages not yet acknowledged come again when their lease ends.
        """
        deliveries = await self._bus.pull(
            PAID, GROUP, max_messages=BATCH, wait_s=1.0, lease_s=LEASE_S
        )
        good, poison = _sort(deliveries)
        if poison:
            # Counts as an attempt, and after a few of them the bus puts it with the dead letters.
            log.error("unreadable messages: %s", ", ".join(each.dedup_id for each in poison))
            await self._bus.nak(poison, delay_s=RETRY_S)
        if good:
            await self._work_on(good)
        return len(deliveries)

    async def _work_on(self, deliveries: list[Delivery]) -> None:
        async with Scope("batch", kind="consumer", max_tasks=PLACES) as scope:
            tasks = [await scope.go_wait(self._ship, delivery) for delivery in deliveries]
        answers = [task.result() for task in tasks]
        shipped = [answer for answer in answers if answer is not None]
        if shipped:
            await note(self._store, shipped)
            await self._bus.publish(
                SHIPPED, [(order_id, order_id.encode()) for order_id, _ in shipped]
            )
        pairs = list(zip(deliveries, answers, strict=True))
        await self._bus.ack([delivery for delivery, answer in pairs if answer is not None])
        failed = [delivery for delivery, answer in pairs if answer is None]
        if failed:
            # An unwell warehouse is not the message's fault: it does not bring it nearer to the
            # dead letters.
            await self._bus.nak(failed, delay_s=RETRY_S, refund_attempt=True)

    async def _ship(self, delivery: Delivery) -> tuple[str, str] | None:
        answer: tuple[str, str] | None = None
        try:
            async with backstay.timeout(PATIENCE_S):
                answer = await request_shipment(self._session, self._wms, delivery.payload)
        except (DeadlineExceeded, WarehouseTrouble, aiohttp.ClientError, OSError) as error:
            log.info("message %s, attempt %d: %s", delivery.dedup_id, delivery.attempt, error)
        return answer


def _sort(deliveries: list[Delivery]) -> tuple[list[Delivery], list[Delivery]]:
    """Tell readable messages from poison, before anything is sent."""
    good: list[Delivery] = []
    poison: list[Delivery] = []
    for delivery in deliveries:
        try:
            read_message(delivery.payload)
        except ValueError:
            poison.append(delivery)
        else:
            good.append(delivery)
    return good, poison


def declare() -> Service:
    """Declare the parts; nothing is opened before the service runs."""
    settings = settle_in("bus", "wms")
    service = Service("fulfilment", grace=GRACE_S)

    @asynccontextmanager
    async def bus() -> AsyncGenerator[BusClient, None]:
        client = BusClient(settings.bus)
        try:
            yield client
        finally:
            await client.close()

    async def consume(leave: asyncio.Event) -> None:
        store, client, session = (service[name] for name in ("store", "bus", "http client"))
        await Consumer(store, client, session, settings.wms).run(leave)

    service.add("store", lambda: Store(settings.data / "fulfilment.sqlite3", FULFILMENT))
    service.add("bus", bus)
    service.add(
        "http client",
        lambda: aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=PLACES), timeout=aiohttp.ClientTimeout(total=None)
        ),
    )
    service.task("consumer", consume, needs=("store", "bus", "http client"), budget=BATCH_S)
    service.add("door", lambda: readiness_door(settings.listen), needs=("consumer",))
    return service


if __name__ == "__main__":
    sys.exit(run_service(declare(), loop_factory=uvloop.new_event_loop))
