"""Neighbours of the order service, made of timers, for tests in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import grpc
import grpc.aio
from inline_store import InlineStore, as_store
from shop.business.outcome import Money, Stock
from shop.business.schema import ORDER
from shop.order.book import Book, Order
from shop.order.peers import Inventory, Payment
from shop.rpc import RpcError

from backstay import now


def silence(code: grpc.StatusCode = grpc.StatusCode.DEADLINE_EXCEEDED) -> RpcError:
    """What a gRPC call raises when nobody answers."""
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata())


async def answer_after(delay_s: float, timeout: float | None) -> None:
    """Take `delay_s`, or fail as gRPC does when the time-out is shorter."""
    if timeout is not None and timeout < delay_s:
        await asyncio.sleep(timeout)
        raise silence()
    await asyncio.sleep(delay_s)


class FakeInventory:
    """Holds whatever is asked, unless told otherwise."""

    def __init__(self) -> None:
        self.delay_s = 0.005
        self.stock = Stock.HELD
        self.lost: list[str] = []
        self.confirmed: list[str] = []
        self.released: list[str] = []

    async def reserve(self, order: Order, timeout: float | None) -> Stock:
        await answer_after(self.delay_s, timeout)
        return self.stock

    async def confirm(self, order_ids: list[str], timeout: float | None) -> list[str]:
        await answer_after(self.delay_s, timeout)
        self.confirmed += order_ids
        return self.lost

    async def release(self, order_ids: list[str], timeout: float | None) -> None:
        await answer_after(self.delay_s, timeout)
        self.released += order_ids


class FakePayment:
    """Settles whatever is asked, unless told otherwise; remembers what was asked."""

    def __init__(self) -> None:
        self.delay_s = 0.03
        self.charged = Money.SETTLED
        self.queried = Money.NOT_ASKED
        self.refunded = True
        self.asked: list[str] = []
        self.timeouts: list[float | None] = []

    async def charge(self, order: Order, timeout: float | None) -> Money:
        self.asked.append("charge")
        self.timeouts.append(timeout)
        await answer_after(self.delay_s, timeout)
        return self.charged

    async def query(self, order: Order, timeout: float | None) -> Money:
        self.asked.append("query")
        await answer_after(self.delay_s, timeout)
        return self.queried

    async def refund(self, order: Order, timeout: float | None) -> bool:
        self.asked.append("refund")
        await answer_after(self.delay_s, timeout)
        return self.refunded


class Bench:
    """A book in memory between fake neighbours, on the clock of the loop."""

    def __init__(self) -> None:
        self.store = InlineStore(ORDER)
        self.book = Book(as_store(self.store), now)
        self.inventory = FakeInventory()
        self.payment = FakePayment()

    def peers(self) -> tuple[Inventory, Payment]:
        return cast("Inventory", self.inventory), cast("Payment", self.payment)

    def rows(self, sql: str) -> list[Any]:
        return [row[0] for row in self.store.all(sql)]

    def states(self) -> list[str]:
        return self.rows("SELECT state FROM orders ORDER BY id")

    def outbox(self) -> list[str]:
        return self.rows("SELECT topic FROM outbox ORDER BY n")
