"""What visitors of the chain do: nearly all look, few buy."""

from __future__ import annotations

import random
from collections.abc import Mapping

from backstay.lab.load import Request

CHECKOUTS = 0.04  # of all requests


class Visitors:
    """The workload of the scenario `cascading-failure`.

    Args:
        seed: decides what each request is.
        options: `checkouts`, the share of requests that need the ledger.
    """

    def __init__(self, seed: int, options: Mapping[str, object]) -> None:
        self._dice = random.Random(seed)
        share = options.get("checkouts", CHECKOUTS)
        if not isinstance(share, int | float) or not 0 <= share <= 1:
            raise ValueError(f"checkouts = {share!r}: expected a share from 0 to 1")
        self._checkouts = share

    def next(self) -> Request:
        """Choose the next request; looking needs nobody but the orders."""
        if self._dice.random() < self._checkouts:
            return Request(method="POST", path="/checkout", kind="checkout", unaffected=False)
        return Request(method="GET", path="/catalogue", kind="catalogue", unaffected=True)

    def observe(self, request: Request, status: int | None, body: bytes) -> bool:
        """Count what was answered well."""
        return status in (200, 201)
