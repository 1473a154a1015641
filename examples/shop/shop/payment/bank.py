"""The bank, as seen by the payment adapter: three HTTP calls and what their replies mean."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import aiohttp


class BankState(StrEnum):
    """What the bank says about a payment."""

    SETTLED = "settled"
    DECLINED = "declined"
    REFUNDED = "refunded"
    VOIDED = "voided"  # never debited, and never will be
    NOT_FOUND = "not found"


class BankTrouble(Exception):
    """No usable answer: the debit may or may not exist. Query before trying again."""


@dataclass(frozen=True, slots=True)
class Statement:
    """The bank's answer."""

    state: BankState
    ref: str = ""


class Bank:
    """The bank's HTTP API.

    Args:
        session: the HTTP client; its limits and time-outs are the caller's choice.
        base: http://host:port.
    """

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self._session = session
        self._debits = f"{base}/debits"

    async def debit(self, order_id: str, amount: int) -> Statement:
        """Take money; repeating it with the same order takes it once.

        Args:
            order_id: identifies the payment at the bank.
            amount: cents.

        Returns:
            SETTLED, or DECLINED (also when the payment was voided before).

        Raises:
            BankTrouble: no connection, a broken one, or an error status.
        """
        body = json.dumps({"id": order_id, "order": order_id, "amount": amount}).encode()
        status, document = await self._call("POST", self._debits, body)
        if status in (402, 409):
            return Statement(BankState.DECLINED)
        return _statement(status, document)

    async def find(self, order_id: str) -> Statement:
        """Ask for a payment.

        Args:
            order_id: the payment.

        Returns:
            Its state, NOT_FOUND when the bank never heard of it.

        Raises:
            BankTrouble: as for `debit`.
        """
        status, document = await self._call("GET", f"{self._debits}/{order_id}", None)
        return Statement(BankState.NOT_FOUND) if status == 404 else _statement(status, document)

    async def refund(self, order_id: str) -> Statement:
        """Give money back, or forbid a debit that has not come yet.

        Args:
            order_id: the payment.

        Returns:
            REFUNDED or VOIDED.

        Raises:
            BankTrouble: as for `debit`.
        """
        status, document = await self._call("POST", f"{self._debits}/{order_id}/refund", b"{}")
        return _statement(status, document)

    async def _call(self, method: str, url: str, body: bytes | None) -> tuple[int, Any]:
        try:
            async with self._session.request(
                method, url, data=body, headers={"content-type": "application/json"}
            ) as reply:
                raw = await reply.read()
        except (aiohttp.ClientError, OSError) as error:
            raise BankTrouble(f"{method} {url}: {error!r}") from error
        if reply.status >= 500:
            raise BankTrouble(f"{method} {url}: status {reply.status}")
        try:
            return reply.status, json.loads(raw)
        except ValueError as error:
            raise BankTrouble(f"{method} {url}: status {reply.status} and no JSON") from error


def _statement(status: int, document: Any) -> Statement:
    try:
        return Statement(BankState(document["state"]), str(document.get("ref", "")))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BankTrouble(f"status {status} with an unknown document {document!r:.200}") from error
