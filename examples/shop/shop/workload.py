"""What the shop's customers do: a quarter orders, the rest looks orders up or cancels them.

Deterministic given the seed and the replies: the dice are thrown in the same order whatever the
replies are, so that both variants are sent the same kinds of requests at the same arrivals; only
the ids differ, since each shop names its own orders.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

from backstay.lab.load import Request
from shop.business.pricing import PRICES

CREATES = 0.25  # of all requests
CANCELS = 0.05
REMEMBERED = 512  # ids of accepted orders kept for reads and cancels; the oldest make room
RECENT = 32  # a customer who changes his mind does so soon
CUSTOMERS = 1_000

_JSON = ("content-type", "application/json")


class Checkout:
    """The workload of the scenario `leaky-checkout`.

    Options: `creates` and `cancels`, shares of all requests between 0 and 1.

    Args:
        seed: decides what each request is.
        options: from the scenario file.
    """

    def __init__(self, seed: int, options: Mapping[str, object]) -> None:
        self._dice = random.Random(seed)
        self._prefix = f"{seed:x}"
        self._creates = _share(options, "creates", CREATES)
        self._cancels = _share(options, "cancels", CANCELS)
        if self._creates + self._cancels > 1.0:
            raise ValueError(
                f"creates + cancels is {self._creates + self._cancels:g}: expected at most 1"
            )
        self._skus = sorted(PRICES)
        self._ids: list[str] = []  # a ring of REMEMBERED accepted orders
        self._oldest = 0  # where the ring is overwritten next
        self._sent = 0

    def next(self) -> Request:
        """Choose the next request.

        Returns:
            A create needs the bank and a cancel may need it for the refund, so both count as
            affected by its faults; reads need nobody but the order service.
        """
        self._sent += 1
        kind = self._dice.random()
        pick = self._dice.random()
        if kind < self._creates or not self._ids:
            return self._create(pick)
        if kind < self._creates + self._cancels:
            order_id = self._recent(pick)
            return Request(
                method="POST", path=f"/orders/{order_id}/cancel", kind="cancel", unaffected=False
            )
        order_id = self._ids[int(pick * len(self._ids))]
        return Request(method="GET", path=f"/orders/{order_id}", kind="read", unaffected=True)

    def observe(self, request: Request, status: int | None, body: bytes) -> bool:
        """Remember accepted orders and judge the reply.

        Args:
            request: what was asked.
            status: the HTTP status, None without a reply.
            body: the reply's body.

        Returns:
            True for an order that is paid (201) or accepted (202), an order that was found (200),
            and a cancel that is done (200), under way (202) or too late (409).
        """
        if request.kind == "create":
            return status in (201, 202) and self._remember(body)
        if request.kind == "cancel":
            return status in (200, 202, 409)
        return status == 200

    def _create(self, pick: float) -> Request:
        first = int(pick * len(self._skus))
        lines = [{"sku": self._skus[first], "quantity": 1 + self._sent % 2}]
        if self._sent % 3 == 0:
            lines.append({"sku": self._skus[(first + 1) % len(self._skus)], "quantity": 1})
        customer = f"c{int(pick * 7919 * CUSTOMERS) % CUSTOMERS}"
        return Request(
            method="POST",
            path="/orders",
            headers=(_JSON, ("idempotency-key", f"{self._prefix}-{self._sent}")),
            body=json.dumps({"customer": customer, "lines": lines}).encode(),
            kind="create",
            unaffected=False,
        )

    def _recent(self, pick: float) -> str:
        back = 1 + int(pick * min(RECENT, len(self._ids)))
        return self._ids[(self._oldest - back) % len(self._ids)]

    def _remember(self, body: bytes) -> bool:
        try:
            document: Any = json.loads(body)
            order_id = document["id"]
        except (ValueError, KeyError, TypeError):
            return False
        if not isinstance(order_id, str):
            return False
        if len(self._ids) < REMEMBERED:
            self._ids.append(order_id)
            self._oldest = len(self._ids) % REMEMBERED
        else:
            self._ids[self._oldest] = order_id
            self._oldest = (self._oldest + 1) % REMEMBERED
        return True


def _share(options: Mapping[str, object], name: str, default: float) -> float:
    value = options.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError(f"workload option {name} is {value!r}: expected a share from 0 to 1")
    return float(value)
