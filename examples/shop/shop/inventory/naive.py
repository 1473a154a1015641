"""The inventory service as most are written: a server, a sweeper task, no limits."""

from __future__ import annotations

import asyncio

import uvloop

from shop import rpc
from shop.contracts import inventory_pb2_grpc
from shop.inventory.servicer import InventoryServicer, open_store
from shop.inventory.shelves import Shelves
from shop.settings import settle_in


async def sweep(shelves: Shelves) -> None:
    """End expired holds, for ever."""
    while True:
        await shelves.sweep()
        await asyncio.sleep(5.0)


async def main() -> None:
    """Serve until the process ends."""
    settings = settle_in("listen")
    async with open_store(settings) as store:
        shelves = Shelves(store)
        sweeper = asyncio.create_task(sweep(shelves))
        server = await rpc.listen(
            settings.listen,
            lambda server: inventory_pb2_grpc.add_InventoryServicer_to_server(
                InventoryServicer(shelves), server
            ),
            at_once=None,
        )
        await rpc.serve_until_stopped(server, None)
        sweeper.cancel()


if __name__ == "__main__":
    uvloop.run(main())
