"""The fulfilment service as most are written: a task for each message, as many as there are."""

from __future__ import annotations

import asyncio
import logging

import aiohttp
import uvloop

from shop.bus import BusClient, Delivery
from shop.business.schema import FULFILMENT
from shop.fulfilment.warehouse import GROUP, PAID, SHIPPED, note, request_shipment
from shop.readiness import readiness_door
from shop.settings import settle_in
from shop.storage import Store

log = logging.getLogger("shop.fulfilment")


async def handle(
    delivery: Delivery, session: aiohttp.ClientSession, wms: str, store: Store, bus: BusClient
) -> None:
    """Ship one order."""
    try:
        shipped = await request_shipment(session, wms, delivery.payload)
    except Exception:
        log.exception("message %s failed", delivery.dedup_id)
        await bus.nak([delivery], delay_s=1.0)
        return
    await note(store, [shipped])
    await bus.publish(SHIPPED, [(shipped[0], shipped[0].encode())])
    await bus.ack([delivery])


async def main() -> None:
    """Consume until the process ends."""
    settings = settle_in("bus", "wms")
    async with (
        Store(settings.data / "fulfilment.sqlite3", FULFILMENT) as store,
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
        ) as session,
        readiness_door(settings.listen),
    ):
        bus = BusClient(settings.bus)
        background: set[asyncio.Task[None]] = set()
        while True:
            for delivery in await bus.pull(PAID, GROUP, max_messages=64, wait_s=1.0, lease_s=30.0):
                task = asyncio.create_task(handle(delivery, session, settings.wms, store, bus))
                background.add(task)
                task.add_done_callback(background.discard)


if __name__ == "__main__":
    uvloop.run(main())
