"""The payment adapter under Backstay: the bank may be slow, but only for so many at a time.

Each call to the bank runs in a scope of the application with a limit. The caller waits for it as
long as the caller's deadline allows and then hears PENDING; the call itself is not torn, since a
debit that was cut off half-way would have to be asked after. When all places are taken, the answer
is REFUSED, at once and before anything left for the bank.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import uvloop

import backstay
from backstay import Scope
from backstay.errors import DeadlineExceeded, Rejected
from shop import rpc
from shop.business.schema import PAYMENT
from shop.contracts import payment_pb2, payment_pb2_grpc
from shop.contracts.payment_pb2 import PaymentReply
from shop.payment.bank import Bank, BankState, BankTrouble, Statement
from shop.payment.till import OUTCOMES, Till
from shop.settings import settle_in
from shop.storage import Store

log = logging.getLogger("shop.payment")

BANK_PATIENCE_S = 8.0  # after this an answer is not worth a place any more
INQUIRIES = 8  # queries and refunds at the bank at once
MARGIN_S = 0.015  # what the reply needs to reach the caller within its deadline
CALLS_AT_ONCE = 256
GRACE_S = 2.0

Work = Callable[[], Awaitable[Statement]]


class PaymentServicer(payment_pb2_grpc.PaymentServicer):
    """Answers Charge, Query and Refund.

    Args:
        till: what is known.
        bank: what is asked.
        charges: owns debits under way; open, with `max_tasks`.
        inquiries: owns queries and refunds under way; open, with `max_tasks`.
    """

    def __init__(self, till: Till, bank: Bank, charges: Scope, inquiries: Scope) -> None:
        self._till = till
        self._bank = bank
        self._charges = charges
        self._inquiries = inquiries
        # order id -> the call to the bank. Bounded by the places of the two scopes.
        self._under_way: dict[str, asyncio.Task[BankState | None]] = {}

    async def Charge(  # noqa: N802, gRPC's spelling
        self, request: payment_pb2.ChargeRequest, context: Any
    ) -> PaymentReply:
        """Take the money of an order."""
        order_id, amount = request.order_id, request.amount
        state = await self._till.known(order_id)
        if state is None:
            return await self._ask(
                self._charges, order_id, amount, context, lambda: self._bank.debit(order_id, amount)
            )
        return PaymentReply(outcome=OUTCOMES[state])

    async def Query(self, request: payment_pb2.OrderId, context: Any) -> PaymentReply:  # noqa: N802
        """Say what became of a charge."""
        order_id = request.order_id
        state = await self._till.known(order_id)
        if state is None:
            return await self._ask(
                self._inquiries, order_id, 0, context, lambda: self._bank.find(order_id)
            )
        return PaymentReply(outcome=OUTCOMES[state])

    async def Refund(self, request: payment_pb2.OrderId, context: Any) -> PaymentReply:  # noqa: N802
        """Give the money back."""
        order_id = request.order_id
        state = await self._till.known(order_id)
        if state is None and order_id in self._under_way:
            return PaymentReply(outcome=PaymentReply.PENDING)  # first learn what there is to refund
        if state in (None, BankState.SETTLED):
            return await self._ask(
                self._inquiries, order_id, 0, context, lambda: self._bank.refund(order_id)
            )
        return PaymentReply(outcome=OUTCOMES[state])

    async def _ask(
        self, scope: Scope, order_id: str, amount: int, context: Any, work: Work
    ) -> PaymentReply:
        task = self._under_way.get(order_id)
        if task is None:
            try:
                task = scope.go(self._at_the_bank, order_id, amount, work)
            except Rejected:
                return PaymentReply(
                    outcome=PaymentReply.REFUSED if scope is self._charges else PaymentReply.PENDING
                )
            self._under_way[order_id] = task
            task.add_done_callback(lambda _: self._under_way.pop(order_id, None))
        left: float | None = context.time_remaining()
        # Waits without owning: when the caller's time is up, the task goes on in its scope.
        await asyncio.wait({task}, timeout=None if left is None else max(0.0, left - MARGIN_S))
        state = task.result() if task.done() and not task.cancelled() else None
        return PaymentReply(outcome=PaymentReply.PENDING if state is None else OUTCOMES[state])

    async def _at_the_bank(self, order_id: str, amount: int, work: Work) -> BankState | None:
        try:
            async with backstay.timeout(BANK_PATIENCE_S):
                statement = await work()
        except (DeadlineExceeded, BankTrouble) as error:
            log.info("payment of order %s stays open: %s", order_id, error)
            return None
        if statement.state is not BankState.NOT_FOUND:
            await self._till.note(order_id, amount, statement)
        return statement.state


async def main() -> None:
    """Serve until SIGTERM, then finish the calls in flight, those to the bank included."""
    settings = settle_in("listen", "bank")
    async with (
        Store(settings.data / "payment.sqlite3", PAYMENT) as store,
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=settings.bank_places + INQUIRIES),
            timeout=aiohttp.ClientTimeout(total=None),
        ) as session,
        Scope("charges", kind="app", max_tasks=settings.bank_places) as charges,
        Scope("inquiries", kind="app", max_tasks=INQUIRIES) as inquiries,
    ):
        servicer = PaymentServicer(Till(store), Bank(session, settings.bank), charges, inquiries)
        server = await rpc.listen(
            settings.listen,
            lambda server: payment_pb2_grpc.add_PaymentServicer_to_server(servicer, server),
            at_once=CALLS_AT_ONCE,
        )
        try:
            await rpc.serve_until_stopped(server, GRACE_S)
        finally:
            if under_way := charges.tasks | inquiries.tasks:
                await asyncio.wait(under_way, timeout=GRACE_S)


if __name__ == "__main__":
    backstay.run(main, name="payment", loop_factory=uvloop.new_event_loop)
