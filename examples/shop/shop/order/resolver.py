"""Finishing what a request could not wait for: orders whose payment or stock is still open.

The rule is "query before retry": a charge that got no answer is asked after, and sent again only
when the bank never heard of it. Payment and bank know the order by one id, so that even a repeated
charge takes the money once.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import backstay
from shop.business.outcome import Money, Stock
from shop.business.states import State
from shop.order.book import Book, Order
from shop.order.peers import Inventory, Payment
from shop.rpc import RpcError

log = logging.getLogger("shop.order")

PLACES = 6  # open orders worked on at once: half of what payment lets through to the bank
PATIENCE_S = 9.0  # for one answer of payment; longer than payment's own patience with the bank
STOCK_S = 1.0  # for one answer of inventory
PAUSE_CEILING_S = 10.0


class Resolver:
    """Works off open orders, a few at a time.

    Args:
        book: the order book.
        inventory: holds the goods.
        payment: knows about the money.
    """

    def __init__(self, book: Book, inventory: Inventory, payment: Payment) -> None:
        self._book = book
        self._inventory = inventory
        self._payment = payment

    async def round(self) -> int:
        """Take the orders that are due and move each one on, or postpone it.

        Returns:
            How many were moved on: while payment refuses or is silent, it does not pay to go on
            at once, however many orders wait.
        """
        orders = await self._book.due(PLACES)
        async with backstay.Scope("resolve", max_tasks=PLACES, timeout=3 * PATIENCE_S) as scope:
            tasks = [scope.go(self._resolve, order) for order in orders]
        return sum(task.result() for task in tasks)

    async def _resolve(self, order: Order) -> bool:
        try:
            finished = await (
                self._refund(order) if order.state is State.REFUNDING else self._pay(order)
            )
        except RpcError as error:
            log.info("order %s stays %s: %s", order.id, order.state, error.code())
            finished = False
        if not finished:
            await self._book.postpone(order, min(PAUSE_CEILING_S, 0.5 * 2.0**order.attempts))
        return finished

    async def _refund(self, order: Order) -> bool:
        return await self._payment.refund(order, PATIENCE_S) and await self._book.move(
            order, State.REFUNDED
        )

    async def _pay(self, order: Order) -> bool:
        # Also renews the hold, which would run out while a bank is down for long.
        stock = await self._inventory.reserve(order, STOCK_S)
        if stock is Stock.SOLD_OUT:
            money = Money.NOT_ASKED if order.state is State.RESERVED else Money.UNKNOWN
            await self._book.settle(order, None, stock, money)
            return True
        if order.state is State.RESERVED:
            # Before the bank is asked: from here on a cancel has to give money back.
            if not await self._book.move(order, State.PAYING):
                return True
            order = replace(order, state=State.PAYING)
            money = await self._payment.charge(order, PATIENCE_S)
        else:
            money = await self._payment.query(order, PATIENCE_S)
            if money is Money.NOT_ASKED:
                money = await self._payment.charge(order, PATIENCE_S)
        if money not in (Money.SETTLED, Money.DECLINED):
            return False
        await self._book.settle(order, None, stock, money)
        return True
