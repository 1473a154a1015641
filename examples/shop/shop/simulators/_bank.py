"""The bank: debits, idempotent by payment id, and refunds.

POST /debits {"id", "order", "amount"}   200 settled | 402 declined | 409 voided before | 422 other content
GET  /debits/{id}                        200 | 404 never seen
POST /debits/{id}/refund                 200 refunded; an unknown id becomes *voided*, so that a debit
                                         which is still on its way cannot overtake its own refund
"""

from __future__ import annotations

import random
from collections import Counter
from typing import NamedTuple

from shop.simulators._script import Script
from shop.simulators._trade import NOT_FOUND, BadRequest, Fields, Ledger, Reply


class Debit(NamedTuple):
    """One payment as the bank knows it."""

    order: str
    amount: int  # cents
    state: str  # settled | declined | refunded | voided
    ref: int


class Bank:
    """The bank's books."""

    name = "bank"

    def __init__(self) -> None:
        self._debits: Ledger[Debit] = Ledger()
        self._refs = 0
        self._repeated = 0  # debits asked for again: how many would have been charged twice

    def handle(
        self, method: str, path: str, body: bytes, script: Script, dice: random.Random
    ) -> Reply:
        """Do what the request asks for."""
        parts = path.strip("/").split("/")
        match method, parts:
            case "POST", ["debits"]:
                return self._debit(Fields(body), script, dice)
            case "GET", ["debits", key]:
                found = self._debits.get(key)
                return NOT_FOUND if found is None else Reply(200, _describe(key, found))
            case "POST", ["debits", key, "refund"]:
                return self._refund(key)
            case _:
                return NOT_FOUND

    def ledger(self) -> dict[str, object]:
        """Every payment with its state."""
        entries = {
            key: {"order": debit.order, "amount": debit.amount, "state": debit.state}
            for key, debit in self._debits.items()
        }
        return {"debits": entries}

    def summary(self) -> dict[str, int]:
        """Payments by state, money held in cents, repeats and dropped entries."""
        states = Counter(debit.state for debit in self._debits.values())
        held = sum(debit.amount for debit in self._debits.values() if debit.state == "settled")
        return {
            "debits": len(self._debits),
            **{state: states[state] for state in ("settled", "declined", "refunded", "voided")},
            "held_cents": held,
            "repeated": self._repeated,
            "dropped": self._debits.dropped,
        }

    def _debit(self, fields: Fields, script: Script, dice: random.Random) -> Reply:
        key, order, amount = fields.text("id"), fields.text("order"), fields.positive("amount")
        known = self._debits.get(key)
        if known is None:
            declined = script.decline_rate > 0 and dice.random() < script.decline_rate
            self._refs += 1
            # An id that equals its order's is kept once: there are many of them.
            debit = Debit(
                key if order == key else order,
                amount,
                "declined" if declined else "settled",
                self._refs,
            )
            self._debits.put(key, debit)
            return Reply(402 if declined else 200, _describe(key, debit), changed=True)
        self._repeated += 1
        if known.state == "voided":
            return Reply(409, _describe(key, known))
        if (known.order, known.amount) != (order, amount):
            return Reply(
                422, {"error": f"payment {key} was {known.amount} for order {known.order}"}
            )
        return Reply(402 if known.state == "declined" else 200, _describe(key, known))

    def _refund(self, key: str) -> Reply:
        if not 0 < len(key) <= 200:
            raise BadRequest("a payment id has 1 to 200 characters")
        known = self._debits.get(key)
        if known is None:
            known = Debit("", 0, "voided", 0)
        elif known.state == "settled":
            known = known._replace(state="refunded")
        else:  # refunded or voided before; a declined one holds no money
            return Reply(200, _describe(key, known))
        self._debits.put(key, known)
        return Reply(200, _describe(key, known), changed=True)


def _describe(key: str, debit: Debit) -> dict[str, object]:
    return {"id": key, "ref": f"b{debit.ref}", "state": debit.state}
