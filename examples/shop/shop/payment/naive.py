"""The payment adapter as most are written: it waits for the bank for as long as the bank likes."""

from __future__ import annotations

from typing import Any

import aiohttp
import uvloop

from shop import rpc
from shop.business.schema import PAYMENT
from shop.contracts import payment_pb2, payment_pb2_grpc
from shop.payment.bank import Bank, BankState
from shop.payment.till import OUTCOMES, Till
from shop.settings import settle_in
from shop.storage import Store


class PaymentServicer(payment_pb2_grpc.PaymentServicer):
    """Answers Charge, Query and Refund.

    Args:
        till: what is known.
        bank: what is asked.
    """

    def __init__(self, till: Till, bank: Bank) -> None:
        self.till = till
        self.bank = bank

    async def Charge(  # noqa: N802, gRPC's spelling
        self, request: payment_pb2.ChargeRequest, context: Any
    ) -> payment_pb2.PaymentReply:
        """Take the money of an order."""
        state = await self.till.known(request.order_id)
        if state is None:
            statement = await self.bank.debit(request.order_id, request.amount)
            await self.till.note(request.order_id, request.amount, statement)
            state = statement.state
        return payment_pb2.PaymentReply(outcome=OUTCOMES[state])

    async def Query(self, request: payment_pb2.OrderId, context: Any) -> payment_pb2.PaymentReply:  # noqa: N802
        """Say what became of a charge."""
        state = await self.till.known(request.order_id)
        if state is None:
            state = (await self.bank.find(request.order_id)).state
        return payment_pb2.PaymentReply(outcome=OUTCOMES[state])

    async def Refund(self, request: payment_pb2.OrderId, context: Any) -> payment_pb2.PaymentReply:  # noqa: N802
        """Give the money back."""
        state = await self.till.known(request.order_id)
        if state in (None, BankState.SETTLED):
            statement = await self.bank.refund(request.order_id)
            await self.till.note(request.order_id, 0, statement)
            state = statement.state
        return payment_pb2.PaymentReply(outcome=OUTCOMES[state])


async def main() -> None:
    """Serve until the process ends."""
    settings = settle_in("listen", "bank")
    async with (
        Store(settings.data / "payment.sqlite3", PAYMENT) as store,
        # No limit and no time-out: a charge that is cut off half-way is worse than a slow one.
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
        ) as session,
    ):
        servicer = PaymentServicer(Till(store), Bank(session, settings.bank))
        server = await rpc.listen(
            settings.listen,
            lambda server: payment_pb2_grpc.add_PaymentServicer_to_server(servicer, server),
            at_once=None,
        )
        await rpc.serve_until_stopped(server, None)


if __name__ == "__main__":
    uvloop.run(main())
