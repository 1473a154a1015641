"""The ledger check: it passes what is right and names what is wrong."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from shop.business import schema
from shop.check import check, main

LEDGER = {"debits": {"a": {"order": "a", "amount": 100, "state": "settled"}}}
SHIPPED = {"shipments": {"a": {"ref": "w1"}}}


def execute(path: Path, sql: str) -> None:
    """Run statements against one file."""
    db = sqlite3.connect(path)
    db.executescript(sql)
    db.commit()
    db.close()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A shop that sold one winch, properly."""
    execute(
        tmp_path / "order.sqlite3",
        schema.ORDER
        + """
        INSERT INTO orders VALUES ('a', 'ann', '[["winch",1]]', 100, 'DONE', 0, 0, 0);
        INSERT INTO idempotency VALUES ('ann', 'k', 'h', 'a', 201, '{}', 0);
        """,
    )
    execute(
        tmp_path / "inventory.sqlite3",
        schema.INVENTORY
        + schema.stock_rows(5)
        + """
        UPDATE stock SET on_hand = 4, sold = 1 WHERE sku = 'winch';
        INSERT INTO reservation VALUES ('a', '[["winch",1]]', 'CONFIRMED', 0);
        """,
    )
    return tmp_path


def test_a_healthy_shop_passes(data: Path) -> None:
    """Nothing is found where nothing is wrong."""
    findings = check(data, LEDGER, SHIPPED)
    assert (list(findings.broken), findings.open, findings.orders) == ([], 0, {"DONE": 1})


def set_state(state: str) -> Callable[[Path], None]:
    """Change the order's state behind everybody's back."""
    return lambda data: execute(data / "order.sqlite3", f"UPDATE orders SET state = '{state}'")


def in_inventory(sql: str) -> Callable[[Path], None]:
    """Change inventory's file behind everybody's back."""
    return lambda data: execute(data / "inventory.sqlite3", sql)


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (set_state("REFUNDED"), "bank holds money of order a, which is REFUNDED"),
        (set_state("CANCELLED"), "warehouse shipped order a, which is CANCELLED"),
        (set_state("REJECTED"), "goods of order a are sold but it is REJECTED"),
        (set_state("PAID"), "nobody is told to ship it"),
        (in_inventory("UPDATE stock SET sold = 2 WHERE sku = 'winch'"), "oversold winch"),
        (
            in_inventory("UPDATE stock SET reserved = 1 WHERE sku = 'winch'"),
            "winch does not add up",
        ),
        (
            in_inventory("INSERT INTO reservation VALUES ('z', '[]', 'HELD', 0)"),
            "z (HELD) belongs to no order",
        ),
        (
            lambda data: execute(data / "order.sqlite3", "DELETE FROM idempotency"),
            "a has no idempotency key",
        ),
        (
            lambda data: execute(
                data / "order.sqlite3",
                "INSERT INTO idempotency VALUES ('ann', 'k2', 'h', 'a', 201, '{}', 0)",
            ),
            "under two keys",
        ),
    ],
)
def test_a_broken_invariant_is_named(
    data: Path, break_it: Callable[[Path], None], words: str
) -> None:
    """Each kind of damage is found, in a sentence that says which order."""
    break_it(data)
    assert any(words in each for each in check(data, LEDGER, SHIPPED).broken)


@pytest.mark.parametrize(
    ("bank", "wms", "words"),
    [
        ({"debits": {}}, SHIPPED, "is DONE, but the bank says None"),
        (LEDGER, {"shipments": {}}, "the warehouse never shipped it"),
        ({"debits": {"a": {"amount": 7, "state": "settled"}}}, SHIPPED, "the bank took 7"),
        (
            {"debits": LEDGER["debits"] | {"z": {"amount": 7, "state": "settled"}}},
            SHIPPED,
            "money of order z, which is None",
        ),
    ],
)
def test_the_outsiders_ledgers_are_the_oracle(
    data: Path, bank: dict[str, Any], wms: dict[str, Any], words: str
) -> None:
    """What the bank and the warehouse really did is held against what the shop believes."""
    assert any(words in each for each in check(data, bank, wms).broken)


def test_the_command_says_what_it_found(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One JSON document, exit code 0, 1 or 2."""
    assert main([str(data)]) == 0
    assert json.loads(capsys.readouterr().out)["orders"] == {"DONE": 1}
    set_state("PAID")(data)
    assert main([str(data)]) == 1
    assert main([str(data / "nowhere")]) == 2
    assert "cannot check" in capsys.readouterr().err
    assert main([str(data), "--bank", "http://127.0.0.1:9"]) == 2
