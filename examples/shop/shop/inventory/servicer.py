"""Inventory's gRPC face, shared by both variants: every call is one transaction and no more."""

from __future__ import annotations

from typing import Any

from shop.business.orders import Line
from shop.business.schema import INVENTORY, stock_rows
from shop.contracts import inventory_pb2, inventory_pb2_grpc
from shop.inventory.shelves import Shelves
from shop.settings import Settings
from shop.storage import Store


class InventoryServicer(inventory_pb2_grpc.InventoryServicer):
    """Answers Reserve, Confirm and Release.

    Args:
        shelves: the goods.
    """

    def __init__(self, shelves: Shelves) -> None:
        self._shelves = shelves

    async def Reserve(  # noqa: N802, gRPC's spelling
        self, request: inventory_pb2.ReserveRequest, context: Any
    ) -> inventory_pb2.ReserveReply:
        """Hold goods for an order."""
        lines = tuple(Line(line.sku, line.quantity) for line in request.lines)
        held = await self._shelves.reserve(request.order_id, lines, request.ttl_s)
        return inventory_pb2.ReserveReply(
            outcome=inventory_pb2.ReserveReply.HELD if held else inventory_pb2.ReserveReply.SOLD_OUT
        )

    async def Confirm(  # noqa: N802
        self, request: inventory_pb2.OrderIds, context: Any
    ) -> inventory_pb2.ConfirmReply:
        """Sell held goods."""
        return inventory_pb2.ConfirmReply(lost=await self._shelves.confirm(request.order_id))

    async def Release(  # noqa: N802
        self, request: inventory_pb2.OrderIds, context: Any
    ) -> inventory_pb2.ReleaseReply:
        """Put held goods back."""
        await self._shelves.release(request.order_id)
        return inventory_pb2.ReleaseReply()


def open_store(settings: Settings) -> Store:
    """Make inventory's store, with goods on the shelves when it is new.

    Args:
        settings: of this process.

    Returns:
        The store, to be started.
    """
    return Store(settings.data / "inventory.sqlite3", INVENTORY + stock_rows(settings.stock))
