"""What bank, warehouse and gateway do for a living, and what their ledgers say afterwards."""

from __future__ import annotations

import pytest
from shop.simulators import Bank, Gateway, Warehouse
from shop.simulators._trade import Ledger
from simulator_client import serving

pytestmark = pytest.mark.real_loop


def debit(key: str, amount: int = 100, order: str | None = None) -> dict[str, object]:
    """A debit request."""
    return {"id": key, "order": order or key, "amount": amount}


async def test_debit_is_idempotent():
    """A repeated debit takes the money once; the same id with other content is refused."""
    async with serving(Bank()) as bank:
        first = await bank.call("POST", "/debits", debit("p1", 250))
        assert first == (200, {"id": "p1", "ref": "b1", "state": "settled"})
        assert await bank.call("POST", "/debits", debit("p1", 250)) == first
        assert await bank.call("GET", "/debits/p1") == first
        assert (await bank.call("POST", "/debits", debit("p1", 251)))[0] == 422
        assert (await bank.call("POST", "/debits", debit("p1", 250, "other")))[0] == 422
        assert (await bank.call("GET", "/debits/p2"))[0] == 404
        _, ledger = await bank.call("GET", "/ledger")
        assert ledger["debits"] == {"p1": {"order": "p1", "amount": 250, "state": "settled"}}
        assert (
            ledger["summary"] | {"debits": 1, "held_cents": 250, "repeated": 3} == ledger["summary"]
        )


async def test_refund_and_void():
    """A refund gives back once; refunding the unknown voids it, and its late debit finds that out."""
    async with serving(Bank()) as bank:
        await bank.call("POST", "/debits", debit("p1"))
        for _ in range(2):
            assert (await bank.call("POST", "/debits/p1/refund"))[1]["state"] == "refunded"
        assert (await bank.call("POST", "/debits", debit("p1")))[1]["state"] == "refunded"
        assert (await bank.call("POST", "/debits/p2/refund"))[1]["state"] == "voided"
        assert (await bank.call("POST", "/debits", debit("p2")))[0] == 409
        _, ledger = await bank.call("GET", "/ledger?summary=1")
        assert "debits" not in ledger
        assert (
            ledger["summary"]["held_cents"],
            ledger["summary"]["refunded"],
            ledger["summary"]["voided"],
        ) == (0, 1, 1)


async def test_declined_stays_declined():
    """A declined payment is declined again when repeated, also after the bank became generous."""
    async with serving(Bank()) as bank:
        await bank.control(decline_rate=1)
        assert (await bank.call("POST", "/debits", debit("p1")))[0] == 402
        await bank.control(decline_rate=0)
        assert (await bank.call("POST", "/debits", debit("p1")))[0] == 402
        assert (await bank.call("POST", "/debits/p1/refund"))[1]["state"] == "declined"


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "not a JSON object"),
        ({"order": "o", "amount": 1}, "id is None"),
        (debit("x" * 201), "expected a string of 1 to 200 characters"),
        (debit("p", 0), "amount is 0, expected a whole number above 0"),
        (debit("p", True), "amount is True"),
        ({"id": "p", "order": "o", "amount": "5"}, "amount is '5'"),
    ],
)
async def test_senseless_requests(body: object, complaint: str):
    """A request that makes no sense is a 400 that says why, and has no effect."""
    async with serving(Bank()) as bank:
        status, reply = await bank.call("POST", "/debits", body)
        assert status == 400
        assert complaint in reply["error"]
        assert (await bank.call("GET", "/ledger"))[1]["debits"] == {}


async def test_shipments():
    """The warehouse ships each id once."""
    async with serving(Warehouse()) as wms:
        request = {"id": "o1", "lines": [{"sku": "winch", "quantity": 1}]}
        first = await wms.call("POST", "/shipments", request)
        assert first == (200, {"id": "o1", "ref": "w1", "state": "shipped"})
        assert (
            await wms.call("POST", "/shipments", request)
            == first
            == await wms.call("GET", "/shipments/o1")
        )
        assert (await wms.call("GET", "/shipments/o2"))[0] == 404
        _, ledger = await wms.call("GET", "/ledger")
        assert ledger["shipments"] == {"o1": {"ref": "w1"}}
        assert ledger["summary"] == {"shipments": 1, "repeated": 1, "dropped": 0}


async def test_notifications():
    """The gateway accepts each notification and counts repeats."""
    async with serving(Gateway()) as gateway:
        notice = {"id": "n1", "order": "o1", "kind": "paid"}
        for _ in range(2):
            assert await gateway.call("POST", "/notifications", notice) == (
                202,
                {"id": "n1", "state": "sent"},
            )
        _, ledger = await gateway.call("GET", "/ledger")
        assert ledger["notifications"] == {"n1": {"order": "o1", "kind": "paid", "times": 2}}


@pytest.mark.parametrize("trade", [Bank, Warehouse, Gateway])
async def test_unknown_paths(trade):
    """A path or method nobody knows is a 404, and readiness is always told."""
    async with serving(trade()) as client:
        for method, path in (
            ("GET", "/"),
            ("DELETE", "/debits"),
            ("POST", "/nothing/at/all"),
            ("POST", "/ledger"),
        ):
            assert (await client.call(method, path, {}))[0] == 404
        assert await client.call("GET", "/readyz") == (200, {"ready": True})


def test_ledger_is_bounded():
    """A full ledger drops its oldest entries and counts them."""
    ledger: Ledger[int] = Ledger(limit=20)
    for number in range(31):
        ledger.put(str(number), number)
    ledger.put("30", 99)
    assert (len(ledger), ledger.dropped) == (19, 12)
    assert (ledger.get("0"), ledger.get("30")) == (None, 99)
