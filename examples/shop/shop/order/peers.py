"""The order service's neighbours, each call translated into what the business code understands.

Every call takes its time-out as an argument; None means to wait for as long as it takes.
What a time-out is worth is the variants' business, not this file's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import aiohttp

from shop import rpc
from shop.business.outcome import Money, Stock
from shop.contracts import inventory_pb2, inventory_pb2_grpc, payment_pb2, payment_pb2_grpc
from shop.order.book import Order

HOLD_S = 900  # seconds inventory holds the goods; the resolver renews it while an order is open

_MONEY = {
    payment_pb2.PaymentReply.SETTLED: Money.SETTLED,
    payment_pb2.PaymentReply.DECLINED: Money.DECLINED,
    payment_pb2.PaymentReply.REFUNDED: Money.DECLINED,  # voided: it was not and will not be taken
    payment_pb2.PaymentReply.REFUSED: Money.NOT_ASKED,
    payment_pb2.PaymentReply.NOT_FOUND: Money.NOT_ASKED,
}


class Inventory:
    """The inventory service.

    Args:
        address: host:port.
    """

    def __init__(self, address: str) -> None:
        self._channel = rpc.connect(address)
        self._stub = inventory_pb2_grpc.InventoryStub(self._channel)

    async def reserve(self, order: Order, timeout: float | None) -> Stock:
        """Hold the goods of an order, or renew the hold.

        Args:
            order: the order.
            timeout: seconds.

        Returns:
            HELD or SOLD_OUT.

        Raises:
            RpcError: no answer; the goods may or may not be held.
        """
        lines = [inventory_pb2.Line(sku=line.sku, quantity=line.quantity) for line in order.lines]
        reply = await self._stub.Reserve(
            inventory_pb2.ReserveRequest(order_id=order.id, lines=lines, ttl_s=HOLD_S),
            timeout=timeout,
        )
        return Stock.HELD if reply.outcome == inventory_pb2.ReserveReply.HELD else Stock.SOLD_OUT

    async def confirm(self, order_ids: Sequence[str], timeout: float | None) -> list[str]:
        """Turn holds into sales.

        Args:
            order_ids: the orders.
            timeout: seconds.

        Returns:
            The orders whose goods could not be found any more.

        Raises:
            RpcError: no answer; call again with the same orders.
        """
        reply = await self._stub.Confirm(
            inventory_pb2.OrderIds(order_id=order_ids), timeout=timeout
        )
        return list(reply.lost)

    async def release(self, order_ids: Sequence[str], timeout: float | None) -> None:
        """Put goods back on the shelf.

        Args:
            order_ids: the orders.
            timeout: seconds.

        Raises:
            RpcError: no answer; call again with the same orders.
        """
        await self._stub.Release(inventory_pb2.OrderIds(order_id=order_ids), timeout=timeout)

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()


class Payment:
    """The payment adapter.

    Args:
        address: host:port.
    """

    def __init__(self, address: str) -> None:
        self._channel = rpc.connect(address)
        self._stub = payment_pb2_grpc.PaymentStub(self._channel)

    async def charge(self, order: Order, timeout: float | None) -> Money:
        """Take the money of an order, at most once however often it is called.

        Args:
            order: the order.
            timeout: seconds.

        Returns:
            SETTLED, DECLINED, NOT_ASKED when refused before the bank, UNKNOWN while the bank is silent.

        Raises:
            RpcError: no answer; the money may or may not be taken.
        """
        reply = await self._stub.Charge(
            payment_pb2.ChargeRequest(order_id=order.id, amount=order.amount), timeout=timeout
        )
        return _MONEY.get(reply.outcome, Money.UNKNOWN)

    async def query(self, order: Order, timeout: float | None) -> Money:
        """Ask what became of a charge.

        Args:
            order: the order.
            timeout: seconds.

        Returns:
            SETTLED, DECLINED, NOT_ASKED when the bank never heard of it, UNKNOWN while it is under way.

        Raises:
            RpcError: no answer.
        """
        reply = await self._stub.Query(payment_pb2.OrderId(order_id=order.id), timeout=timeout)
        return _MONEY.get(reply.outcome, Money.UNKNOWN)

    async def refund(self, order: Order, timeout: float | None) -> bool:
        """Give the money back, or make sure that it can no longer be taken.

        Args:
            order: the order.
            timeout: seconds.

        Returns:
            True when no money is held; False when that is not known yet.

        Raises:
            RpcError: no answer; call again.
        """
        reply = await self._stub.Refund(payment_pb2.OrderId(order_id=order.id), timeout=timeout)
        return reply.outcome in (
            payment_pb2.PaymentReply.REFUNDED,
            payment_pb2.PaymentReply.DECLINED,
        )

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()


class NoticeRefused(Exception):
    """The gateway answered, but did not take the notification."""


async def send_notice(
    session: aiohttp.ClientSession, gateway: str, order_id: str, kind: str
) -> None:
    """Have the notification gateway write to the customer.

    Args:
        session: the HTTP client; its limits and time-outs are the caller's choice.
        gateway: http://host:port.
        order_id: the order.
        kind: what happened, "paid".

    Raises:
        NoticeRefused: a status other than 2xx.
        aiohttp.ClientError: no connection, or a broken one.
    """
    notice = json.dumps({"id": f"{order_id}-{kind}", "order": order_id, "kind": kind}).encode()
    async with session.post(
        f"{gateway}/notifications", data=notice, headers={"content-type": "application/json"}
    ) as reply:
        await reply.read()
        if reply.status >= 300:
            raise NoticeRefused(f"gateway answered {reply.status} for order {order_id}")
