"""The ledger check: compare what the shop believes with what the outsiders' ledgers say.

Run it after the services have stopped: `python -m shop.check DATA_DIR --bank URL --wms URL`. The
simulators are the oracle: they know which debit and which shipment really happened.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shop.business.states import MONEY_MAY_BE_HELD, OPEN, State


@dataclass(frozen=True, slots=True)
class Findings:
    """What the check saw.

    Attributes:
        orders: how many orders are in each state.
        broken: one sentence for each broken invariant; empty when all hold.
        open: orders that somebody still has to move on.
    """

    orders: Mapping[str, int]
    broken: Sequence[str] = field(default_factory=tuple[str, ...])
    open: int = 0


def check(data: Path, bank: Mapping[str, Any] | None, wms: Mapping[str, Any] | None) -> Findings:
    """Check the shop's databases against the outsiders' ledgers.

    Args:
        data: the directory with the services' SQLite files.
        bank: the bank's ledger, None to leave it out.
        wms: the warehouse's ledger, None to leave it out.

    Returns:
        The findings.

    Raises:
        sqlite3.Error: a file is missing or not the shop's.
    """
    broken: list[str] = []
    with _open(data / "order.sqlite3") as db:
        orders = {
            order_id: (State(state), amount)
            for order_id, state, amount in db.execute("SELECT id, state, amount FROM orders")
        }
        twice = db.execute(
            "SELECT customer, key FROM idempotency GROUP BY order_id HAVING count(*) > 1"
        ).fetchall()
        keyless = db.execute(
            "SELECT id FROM orders WHERE id NOT IN (SELECT order_id FROM idempotency)"
        ).fetchall()
        stuck = db.execute(
            "SELECT id FROM orders WHERE state = 'PAID' "
            "AND id NOT IN (SELECT order_id FROM outbox WHERE topic = 'paid')"
        ).fetchall()
    broken += [f"order {row[0]} is PAID, but nobody is told to ship it" for row in stuck]
    broken += [f"order of {customer} under two keys, one is {key}" for customer, key in twice]
    broken += [f"order {row[0]} has no idempotency key" for row in keyless]
    broken += _goods(
        data / "inventory.sqlite3", {each: state for each, (state, _) in orders.items()}
    )
    if bank is not None:
        broken += _money(orders, bank)
    if wms is not None:
        broken += _shipments(orders, wms)
    states = Counter(str(state) for state, _ in orders.values())
    return Findings(states, tuple(broken), sum(states[state] for state in OPEN))


def _goods(path: Path, orders: Mapping[str, State]) -> list[str]:
    with _open(path) as db:
        stock = db.execute("SELECT sku, on_hand, reserved, sold, received FROM stock").fetchall()
        holds = db.execute("SELECT order_id, lines, state FROM reservation").fetchall()
    broken: list[str] = []
    held: Counter[str] = Counter()
    sold: Counter[str] = Counter()
    for order_id, lines, state in holds:
        for sku, quantity in json.loads(lines):
            if state == "HELD":
                held[sku] += quantity
            elif state == "CONFIRMED":
                sold[sku] += quantity
        order = orders.get(order_id)
        if order is None and state != "RELEASED":
            broken.append(f"reservation {order_id} ({state}) belongs to no order")
        elif state == "CONFIRMED" and order not in (State.SHIPPING, State.DONE, State.NEEDS_HUMAN):
            broken.append(f"goods of order {order_id} are sold but it is {order}")
    for sku, on_hand, reserved, sold_here, received in stock:
        if on_hand + sold_here != received or not 0 <= reserved <= on_hand:
            broken.append(
                f"oversold {sku}: {on_hand} on hand, {reserved} reserved, {sold_here} sold of {received}"
            )
        if reserved != held[sku] or sold_here != sold[sku]:
            broken.append(f"stock of {sku} does not add up to its reservations")
    return broken


def _money(orders: Mapping[str, tuple[State, int]], ledger: Mapping[str, Any]) -> list[str]:
    broken: list[str] = []
    debits: Mapping[str, Any] = ledger["debits"]
    for order_id, debit in debits.items():
        if debit["state"] != "settled":
            continue
        state, amount = orders.get(order_id, (None, 0))
        if state not in MONEY_MAY_BE_HELD:
            broken.append(f"bank holds money of order {order_id}, which is {state}")
        elif debit["amount"] != amount:
            broken.append(f"order {order_id} costs {amount}, the bank took {debit['amount']}")
    for order_id, (state, _) in orders.items():
        debit_state = debits.get(order_id, {}).get("state")
        if state in (State.PAID, State.SHIPPING, State.DONE) and debit_state != "settled":
            broken.append(f"order {order_id} is {state}, but the bank says {debit_state}")
    return broken


def _shipments(orders: Mapping[str, tuple[State, int]], ledger: Mapping[str, Any]) -> list[str]:
    broken: list[str] = []
    shipments: Mapping[str, Any] = ledger["shipments"]
    for order_id in shipments:
        state = orders.get(order_id, (None, 0))[0]
        if state not in (State.SHIPPING, State.DONE):
            broken.append(f"warehouse shipped order {order_id}, which is {state}")
    broken += [
        f"order {order_id} is DONE, but the warehouse never shipped it"
        for order_id, (state, _) in orders.items()
        if state is State.DONE and order_id not in shipments
    ]
    return broken


class _open:  # noqa: N801, used like a function
    """A read-only connection that is closed and not only committed."""

    def __init__(self, path: Path) -> None:
        # Not mode=ro: after a crash the log has to be replayed, which writes.
        self._db = sqlite3.connect(f"file:{path}?mode=rw", uri=True)

    def __enter__(self) -> sqlite3.Connection:
        return self._db

    def __exit__(self, *_: object) -> None:
        self._db.close()


def fetch_ledger(url: str) -> Mapping[str, Any]:
    """Read the ledger of a simulator.

    Args:
        url: http://host:port.

    Returns:
        The JSON document.

    Raises:
        OSError: nobody answers there.
    """
    with urllib.request.urlopen(f"{url}/ledger", timeout=10) as reply:
        document: Mapping[str, Any] = json.load(reply)
    return document


def main(argv: Sequence[str] | None = None) -> int:
    """Run the check for a person.

    Args:
        argv: the arguments, None for those of the process.

    Returns:
        0 when all invariants hold, 1 when one is broken, 2 when the check could not be made.
    """
    parser = argparse.ArgumentParser(
        prog="shop.check", description="Hold the shop's books against the outsiders' ledgers."
    )
    parser.add_argument("data", type=Path, help="directory with the services' SQLite files")
    parser.add_argument("--bank", help="URL of the bank simulator")
    parser.add_argument("--wms", help="URL of the warehouse simulator")
    options = parser.parse_args(argv)
    try:
        findings = check(
            options.data,
            fetch_ledger(options.bank) if options.bank else None,
            fetch_ledger(options.wms) if options.wms else None,
        )
    except (OSError, sqlite3.Error) as error:
        print(f"cannot check {options.data}: {error}", file=sys.stderr)
        return 2
    print(json.dumps({"orders": findings.orders, "open": findings.open, "broken": findings.broken}))
    return 1 if findings.broken else 0


if __name__ == "__main__":
    sys.exit(main())
