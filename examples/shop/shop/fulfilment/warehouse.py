"""From a message about a paid order to a shipment at the warehouse; shared by both variants.

No outbox is needed here: a message is acknowledged only after the shipment is noted and its news
published, and the warehouse, this service's table and the bus each drop what they had before.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import aiohttp

from shop.business.orders import Line, decode_lines
from shop.storage import Store

PAID, SHIPPED, GROUP = "order.paid", "order.shipped", "fulfilment"


class WarehouseTrouble(Exception):
    """The warehouse did not take the shipment; the message must come again."""


def read_message(payload: bytes) -> tuple[str, tuple[Line, ...]]:
    """Read a message about a paid order.

    Args:
        payload: `<order id> <lines as JSON>`.

    Returns:
        The order's id and lines.

    Raises:
        ValueError: it is not such a message; sending it again will not help.
    """
    order_id, _, lines = payload.decode().partition(" ")
    try:
        return order_id, decode_lines(lines)
    except TypeError as error:
        raise ValueError(f"not a message about a paid order: {payload[:80]!r}") from error


async def request_shipment(
    session: aiohttp.ClientSession, wms: str, payload: bytes
) -> tuple[str, str]:
    """Have the warehouse ship one order.

    Args:
        session: the HTTP client; its limits and time-outs are the caller's choice.
        wms: http://host:port.
        payload: the message.

    Returns:
        The order's id and the warehouse's reference.

    Raises:
        WarehouseTrouble: an error status or an unusable reply.
        aiohttp.ClientError: no connection, or a broken one.
        ValueError: the message is poison.
    """
    order_id, lines = read_message(payload)
    body = json.dumps(
        {"id": order_id, "lines": [{"sku": line.sku, "quantity": line.quantity} for line in lines]}
    ).encode()
    async with session.post(
        f"{wms}/shipments", data=body, headers={"content-type": "application/json"}
    ) as reply:
        raw = await reply.read()
        if reply.status >= 300:
            raise WarehouseTrouble(f"warehouse answered {reply.status} for order {order_id}")
    try:
        document: Any = json.loads(raw)
        return order_id, str(document.get("ref", ""))
    except (ValueError, AttributeError) as error:
        raise WarehouseTrouble(f"warehouse answered {raw[:80]!r} for order {order_id}") from error


async def note(store: Store, shipped: Sequence[tuple[str, str]]) -> None:
    """Write shipments down, a batch in one transaction.

    Args:
        store: the started SQLite file with `schema.FULFILMENT`.
        shipped: pairs of order id and the warehouse's reference.
    """
    await store.write(
        lambda db: (
            db.executemany(
                "INSERT OR IGNORE INTO shipment (order_id, wms_ref) VALUES (?, ?)", shipped
            ).rowcount
        )
    )
