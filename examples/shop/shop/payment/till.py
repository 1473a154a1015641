"""The till: what the payment adapter knows for certain, one row per order."""

from __future__ import annotations

from shop.contracts.payment_pb2 import PaymentReply
from shop.payment.bank import BankState, Statement
from shop.storage import Store

OUTCOMES = {
    BankState.SETTLED: PaymentReply.SETTLED,
    BankState.DECLINED: PaymentReply.DECLINED,
    BankState.REFUNDED: PaymentReply.REFUNDED,
    BankState.VOIDED: PaymentReply.REFUNDED,
    BankState.NOT_FOUND: PaymentReply.NOT_FOUND,
}
"""The bank's words in the contract's words."""


class Till:
    """Final answers of the bank. Nothing is written before the bank has spoken.

    The order service has written down its intent before it calls, and the bank knows a payment by
    the order's id, so that a crash between the bank's answer and this row is cured by a query.

    Args:
        store: the started SQLite file with `schema.PAYMENT`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def known(self, order_id: str) -> BankState | None:
        """Look a payment up.

        Args:
            order_id: the order.

        Returns:
            What the bank said last, None when it has not spoken.
        """
        row = await self._store.read(
            lambda db: db.execute(
                "SELECT state FROM payment WHERE order_id = ?", (order_id,)
            ).fetchone()
        )
        return None if row is None else BankState(row[0])

    async def note(self, order_id: str, amount: int, statement: Statement) -> None:
        """Keep an answer of the bank; a later one replaces it.

        Args:
            order_id: the order.
            amount: cents; 0 keeps what is there.
            statement: the answer.
        """
        await self._store.write(
            lambda db: (
                db.execute(
                    "INSERT INTO payment (order_id, amount, state, bank_ref) VALUES (?, ?, ?, ?) "
                    "ON CONFLICT (order_id) DO UPDATE SET state = excluded.state, "
                    "amount = max(amount, excluded.amount)",
                    (order_id, amount, statement.state, statement.ref),
                ).rowcount
            )
        )
