"""The order service under Backstay: the same business, every task with an owner, a deadline and an exit.

What the guard of `backstay run` adds around each request: a scope, a deadline and a limit on
requests in flight. What is added here:

* the fan-out to inventory and payment lives in a scope, and waits 100 ms for the bank. Without an
  answer the order is accepted as pending (202) and the resolver finishes it;
* notifications and the resolver are owned by scopes of the application, each with a limit.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
from starlette.applications import Starlette

import backstay
from backstay import Scope
from shop.bus import BusClient
from shop.business.orders import Wish
from shop.business.outcome import Money, Stock
from shop.business.schema import ORDER
from shop.order import notifier, resolver, web
from shop.order.book import Book, Letter, Order, Reply
from shop.order.notifier import Notifier
from shop.order.peers import Inventory, Payment
from shop.order.relay import Relay, repeat
from shop.rpc import RpcError
from shop.settings import settle_in
from shop.storage import Store

STOCK_S = 0.5  # inventory is ours and quick; without its answer there is no promise to give
CHARGE_S = 0.1  # the bank usually needs 30 ms; a customer is not kept waiting for an unusual day
ROUND_S = 5.0  # a call of the relay


class Orders:
    """The three things that can be done with an order."""

    book: Book
    inventory: Inventory
    payment: Payment
    notifier: Notifier

    async def checkout(self, wish: Wish, key: str, digest: str) -> Reply:
        """Accept an order: ask inventory and payment at the same time, tell the customer."""
        order = await self.book.place(wish, key, digest)
        if isinstance(order, Reply):
            return order
        async with Scope("fan-out", max_tasks=2) as scope:
            stock = scope.go(self.reserve, order)
            money = scope.go(self.charge, order)
        reply, notice = await self.book.settle(order, key, stock.result(), money.result())
        if notice is not None:
            self.notifier.send_soon(Letter(notice, order.id, "paid", 0))
        return reply

    async def read(self, order_id: str) -> Reply:
        """Look an order up."""
        return await self.book.read(order_id)

    async def cancel(self, order_id: str) -> Reply:
        """Cancel an order; when money has moved, the resolver gives it back."""
        return await self.book.cancel(order_id)

    async def reserve(self, order: Order) -> Stock:
        """Hold the goods, within the time that is left."""
        try:
            return await self.inventory.reserve(order, _at_most(STOCK_S))
        except RpcError:
            return Stock.UNKNOWN

    async def charge(self, order: Order) -> Money:
        """Take the money, if the bank answers now."""
        try:
            return await self.payment.charge(order, _at_most(CHARGE_S))
        except RpcError:
            return Money.UNKNOWN

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncGenerator[None, None]:
        """Open what the service needs; on the way out finish what was begun, in reverse order."""
        settings = settle_in("inventory", "payment", "bus", "gateway")
        async with AsyncExitStack() as stack:
            self.book = Book(
                await stack.enter_async_context(Store(settings.data / "order.sqlite3", ORDER))
            )
            self.inventory = Inventory(settings.inventory)
            stack.push_async_callback(self.inventory.close)
            self.payment = Payment(settings.payment)
            stack.push_async_callback(self.payment.close)
            bus = BusClient(settings.bus, timeout_s=ROUND_S)
            stack.push_async_callback(bus.close)
            session = await stack.enter_async_context(
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(limit=notifier.PLACES),
                    # The deadline of the scope is the time-out; one clock is enough.
                    timeout=aiohttp.ClientTimeout(total=None),
                )
            )
            notices = Scope("notices", kind="app", max_tasks=notifier.PLACES)
            self.notifier = Notifier(notices, session, settings.gateway, self.book)
            stack.push_async_callback(self.notifier.flush)
            # Left after the loops and before the flush: what the last request announced is sent and noted.
            await stack.enter_async_context(notices)
            relay = Relay(self.book, self.inventory, bus, ROUND_S)
            open_orders = resolver.Resolver(self.book, self.inventory, self.payment)
            loops = await stack.enter_async_context(Scope("loops", kind="app", on_exit="cancel"))
            loops.go(repeat, relay.ship, 0.1)
            loops.go(repeat, relay.give_back, 0.5)
            loops.go(repeat, relay.learn, 0.1)
            loops.go(repeat, open_orders.round, 0.25, resolver.PLACES)
            loops.go(repeat, self.notifier.retry, 0.25, notifier.RETRY_BATCH)
            yield


def _at_most(seconds: float) -> float:
    left = backstay.remaining()
    return seconds if left is None else min(seconds, left)


orders = Orders()
app = web.build(orders.checkout, orders.read, orders.cancel, orders.lifespan)
