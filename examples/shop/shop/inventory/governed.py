"""The inventory service under Backstay: a limit on calls at once, an owned sweeper, a clean exit.

No deadline of its own is needed: the caller's comes with each gRPC call and cancels the handler,
and a handler is one transaction.
"""

from __future__ import annotations

import asyncio
import logging

import uvloop

import backstay
from backstay import Scope
from shop import rpc
from shop.contracts import inventory_pb2_grpc
from shop.inventory.servicer import InventoryServicer, open_store
from shop.inventory.shelves import SWEEP_BATCH, Shelves
from shop.settings import settle_in

log = logging.getLogger("shop.inventory")

CALLS_AT_ONCE = 256  # one second of work; more waiting callers would all be too late
GRACE_S = 5.0
SWEEP_PAUSE_S = 5.0


async def sweep(shelves: Shelves) -> None:
    """End expired holds until cancelled.

    Args:
        shelves: the goods.
    """
    while True:
        try:
            handled = await shelves.sweep()
        except Exception:
            log.warning("sweep failed, next try in %g s", SWEEP_PAUSE_S, exc_info=True)
            handled = 0
        if handled < SWEEP_BATCH:
            await asyncio.sleep(SWEEP_PAUSE_S)


async def main() -> None:
    """Serve until SIGTERM, then finish the calls in flight."""
    settings = settle_in("listen")
    async with (
        open_store(settings) as store,
        Scope("sweeper", kind="app", on_exit="cancel") as scope,
    ):
        shelves = Shelves(store)
        scope.go(sweep, shelves)
        server = await rpc.listen(
            settings.listen,
            lambda server: inventory_pb2_grpc.add_InventoryServicer_to_server(
                InventoryServicer(shelves), server
            ),
            at_once=CALLS_AT_ONCE,
        )
        await rpc.serve_until_stopped(server, GRACE_S)


if __name__ == "__main__":
    backstay.run(main, name="inventory", loop_factory=uvloop.new_event_loop)
