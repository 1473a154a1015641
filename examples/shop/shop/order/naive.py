"""The order service as most are written: it passes review, and it works until somebody is slow.

Nothing here is sabotage. `create_task` is how two calls are made at once, the set of background
tasks is what the asyncio documentation recommends, and the HTTP client has no time-out because
its five-minute default once cut off a slow but working gateway. What is missing cannot be seen
while all neighbours are quick: no task has an owner, a deadline or a limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp
from starlette.applications import Starlette

from shop.bus import BusClient
from shop.business.orders import Wish
from shop.business.schema import ORDER
from shop.business.states import State
from shop.order import web
from shop.order.book import Book, Reply
from shop.order.peers import Inventory, Payment, send_notice
from shop.order.relay import Relay, repeat
from shop.settings import settle_in
from shop.storage import Store


class Orders:
    """The three things that can be done with an order."""

    book: Book
    inventory: Inventory
    payment: Payment
    session: aiohttp.ClientSession
    gateway: str

    def __init__(self) -> None:
        self.background: set[asyncio.Task[None]] = set()

    async def checkout(self, wish: Wish, key: str, digest: str) -> Reply:
        """Accept an order: ask inventory and payment at the same time, tell the customer."""
        order = await self.book.place(wish, key, digest)
        if isinstance(order, Reply):
            return order
        stock = asyncio.create_task(self.inventory.reserve(order, None))
        money = asyncio.create_task(self.payment.charge(order, None))
        reply, _ = await self.book.settle(order, key, await stock, await money, announce=False)
        if reply.status == 201:
            # The customer should not have to wait until the gateway has sent the mail.
            notice = asyncio.create_task(self.notify(order.id))  # leak: no owner, deadline or limit
            self.background.add(notice)
            notice.add_done_callback(self.background.discard)
        return reply

    async def notify(self, order_id: str) -> None:
        """Tell the customer that the order is paid."""
        await send_notice(self.session, self.gateway, order_id, "paid")

    async def read(self, order_id: str) -> Reply:
        """Look an order up."""
        return await self.book.read(order_id)

    async def cancel(self, order_id: str) -> Reply:
        """Cancel an order and give the money back."""
        reply = await self.book.cancel(order_id)
        if reply.status == 202:
            await self.refund(order_id)
        return reply

    async def refund(self, order_id: str) -> None:
        """Have the money returned, then note it."""
        order = await self.book.find(order_id)
        if order is not None and await self.payment.refund(order, None):
            await self.book.move(order, State.REFUNDED)

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncGenerator[None, None]:
        """Open what the service needs, close it at the end."""
        settings = settle_in("inventory", "payment", "bus", "gateway")
        self.gateway = settings.gateway
        async with (
            Store(settings.data / "order.sqlite3", ORDER) as store,
            # "limit=0": the default of 100 connections made orders wait in the last sale.
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
            ) as self.session,
        ):
            self.book = Book(store)
            self.inventory = Inventory(settings.inventory)
            self.payment = Payment(settings.payment)
            bus = BusClient(settings.bus)
            relay = Relay(self.book, self.inventory, bus, None)
            loops = [
                asyncio.create_task(repeat(relay.ship, 0.1)),
                asyncio.create_task(repeat(relay.give_back, 0.5)),
                asyncio.create_task(repeat(relay.learn, 0.1)),
            ]
            yield
            for loop in loops:
                loop.cancel()
            await bus.close()
            await self.payment.close()
            await self.inventory.close()


orders = Orders()
app = web.build(orders.checkout, orders.read, orders.cancel, orders.lifespan)
