"""The price list: what an order costs, in cents."""

from __future__ import annotations

from collections.abc import Iterable

from shop.business.orders import Line, OrderRefused

PRICES: dict[str, int] = {
    "anchor": 12_900,
    "cleat": 1_450,
    "halyard": 4_990,
    "lantern": 3_475,
    "shackle": 890,
    "tiller": 15_600,
    "turnbuckle": 2_350,
    "winch": 48_000,
}
"""Price in cents for each article. Fixed, so that two runs with one seed cost the same."""


def total(lines: Iterable[Line]) -> int:
    """Add up what the lines cost.

    Args:
        lines: the articles of one order.

    Returns:
        The sum in cents.

    Raises:
        OrderRefused: an article is not on the price list.
    """
    amount = 0
    for line in lines:
        price = PRICES.get(line.sku)
        if price is None:
            raise OrderRefused(
                f"unknown article {line.sku!r}: expected one of {', '.join(sorted(PRICES))}"
            )
        amount += price * line.quantity
    return amount
