"""The warehouse: shipments, idempotent by id.

POST /shipments {"id", "lines": [{"sku", "quantity"}]}   200
GET  /shipments/{id}                                     200 | 404
"""

from __future__ import annotations

import random

from shop.simulators._script import Script
from shop.simulators._trade import NOT_FOUND, Fields, Ledger, Reply


class Warehouse:
    """The warehouse's books."""

    name = "wms"

    def __init__(self) -> None:
        self._shipments: Ledger[int] = Ledger()  # id -> its reference number
        self._refs = 0
        self._repeated = 0

    def handle(
        self, method: str, path: str, body: bytes, script: Script, dice: random.Random
    ) -> Reply:
        """Do what the request asks for."""
        parts = path.strip("/").split("/")
        match method, parts:
            case "POST", ["shipments"]:
                key = Fields(body).text("id")
                known = self._shipments.get(key)
                if known is not None:
                    self._repeated += 1
                    return Reply(200, _describe(key, known))
                self._refs += 1
                self._shipments.put(key, self._refs)
                return Reply(200, _describe(key, self._refs), changed=True)
            case "GET", ["shipments", key]:
                known = self._shipments.get(key)
                return NOT_FOUND if known is None else Reply(200, _describe(key, known))
            case _:
                return NOT_FOUND

    def ledger(self) -> dict[str, object]:
        """Every shipment."""
        return {"shipments": {key: {"ref": f"w{ref}"} for key, ref in self._shipments.items()}}

    def summary(self) -> dict[str, int]:
        """Counts of shipments, repeats and dropped entries."""
        return {
            "shipments": len(self._shipments),
            "repeated": self._repeated,
            "dropped": self._shipments.dropped,
        }


def _describe(key: str, ref: int) -> dict[str, object]:
    return {"id": key, "ref": f"w{ref}", "state": "shipped"}
