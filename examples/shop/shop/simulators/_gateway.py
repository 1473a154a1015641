"""The notification gateway: tells the customer, and tells him once per id.

POST /notifications {"id", "order", "kind"}   202
"""

from __future__ import annotations

import random
from typing import NamedTuple

from shop.simulators._script import Script
from shop.simulators._trade import NOT_FOUND, Fields, Ledger, Reply


class Notice(NamedTuple):
    """One notification; `times` counts how often it was asked for."""

    order: str
    kind: str
    times: int


class Gateway:
    """The gateway's books."""

    name = "gateway"

    def __init__(self) -> None:
        self._notices: Ledger[Notice] = Ledger()
        self._repeated = 0

    def handle(
        self, method: str, path: str, body: bytes, script: Script, dice: random.Random
    ) -> Reply:
        """Do what the request asks for."""
        if (method, path) != ("POST", "/notifications"):
            return NOT_FOUND
        fields = Fields(body)
        key = fields.text("id")
        known = self._notices.get(key)
        if known is None:
            notice = Notice(fields.text("order"), fields.text("kind", "notice"), 1)
        else:
            self._repeated += 1
            notice = known._replace(times=known.times + 1)
        self._notices.put(key, notice)
        return Reply(202, {"id": key, "state": "sent"}, changed=known is None)

    def ledger(self) -> dict[str, object]:
        """Every notification."""
        return {"notifications": {key: notice._asdict() for key, notice in self._notices.items()}}

    def summary(self) -> dict[str, int]:
        """Counts of notifications, repeats and dropped entries."""
        return {
            "notifications": len(self._notices),
            "repeated": self._repeated,
            "dropped": self._notices.dropped,
        }
