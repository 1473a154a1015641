"""The governed shop as real processes: faults, a crash and a stop, and the ledgers add up."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from shop.check import check
from shop_processes import SERVICES, Shop

pytestmark = [pytest.mark.slow, pytest.mark.real_loop, pytest.mark.timeout(120)]

FINAL = {"DONE", "CANCELLED", "REFUNDED", "REJECTED"}


@pytest.fixture
def shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    """A shop, not started yet; governed unless the test says otherwise."""
    run_dir = Path(tempfile.mkdtemp(prefix="shop-"))
    made = Shop(run_dir, getattr(request, "param", "governed"))
    yield made
    made.close()
    for log in sorted(run_dir.glob("*.log")):  # pytest shows it when the test failed
        print(f"--- {log.name}\n{log.read_text()[-4000:]}")
    shutil.rmtree(run_dir)


class Customer:
    """Places orders and remembers what was promised."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url
        self.promised: set[str] = set()
        self.count = 0
        self.slowest_s = 0.0

    async def order(self, key: str | None = None, quantity: int = 1) -> tuple[int, Any]:
        """Place one order; the status and the document."""
        self.count += 1
        body = {"customer": "ann", "lines": [{"sku": "winch", "quantity": quantity}]}
        headers = {"idempotency-key": key or f"k{self.count}"}
        began = time.monotonic()
        async with self.session.post(f"{self.url}/orders", json=body, headers=headers) as reply:
            document = await reply.json()
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            if reply.status in (201, 202):
                self.promised.add(document["id"])
            return reply.status, document

    async def orders(self, count: int) -> list[tuple[int, Any]]:
        """Place many orders at once; those that break off are left out."""
        answers = await asyncio.gather(
            *(self.order() for _ in range(count)), return_exceptions=True
        )
        return [each for each in answers if isinstance(each, tuple)]

    async def state(self, order_id: str) -> str:
        """Where an order is."""
        async with self.session.get(f"{self.url}/orders/{order_id}") as reply:
            assert reply.status == 200
            return str((await reply.json())["state"])

    async def cancel(self, order_id: str) -> int:
        """Cancel an order; the status."""
        async with self.session.post(f"{self.url}/orders/{order_id}/cancel") as reply:
            return reply.status


async def until(what: str, seconds: float, done: Any) -> None:
    """Wait for a condition on real processes."""
    end = time.monotonic() + seconds
    while not await done():
        assert time.monotonic() < end, f"after {seconds:g} s still not: {what}"
        await asyncio.sleep(0.1)


def book(shop: Shop) -> dict[str, str]:
    """Every order with its state, from the order service's file."""
    db = sqlite3.connect(shop.run_dir / "order.sqlite3")
    try:
        return dict(db.execute("SELECT id, state FROM orders").fetchall())
    finally:
        db.close()


def outbox(shop: Shop) -> int:
    """How many outbox rows wait."""
    db = sqlite3.connect(shop.run_dir / "order.sqlite3")
    try:
        return int(db.execute("SELECT count(*) FROM outbox").fetchone()[0])
    finally:
        db.close()


async def test_the_shop_keeps_its_word_through_faults_a_crash_and_a_stop(shop: Shop) -> None:
    """No acknowledged order is lost, no money is kept wrongly, nothing is sold twice, exits are 0."""
    await shop.start_all()
    timeout = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        customer = Customer(session, shop.url("order"))
        await _healthy(shop, customer)
        await _lost_reply(shop, customer)
        await _slow_bank_and_hanging_gateway(shop, customer)
        await _crash(shop, customer)
        await _heal(shop, customer)
        await _stop_under_load(shop, customer)


async def _healthy(shop: Shop, customer: Customer) -> None:
    # 201 on a quiet machine; on a busy one the first charge may take longer than 100 ms.
    status, document = await customer.order("first")
    assert status in (201, 202)
    assert await customer.order("first") == (status, document)
    assert (await customer.order("first", quantity=2))[0] == 422
    answers = await asyncio.gather(*(customer.order("same") for _ in range(8)))
    assert {status for status, _ in answers} <= {201, 202, 409}
    assert len({each["id"] for status, each in answers if status != 409}) == 1

    async def is_done() -> bool:
        return await customer.state(document["id"]) == "DONE"

    await until("the first order is shipped", 10, is_done)
    assert await customer.cancel(document["id"]) == 409


async def _lost_reply(shop: Shop, customer: Customer) -> None:
    """The bank takes the money and its answer never comes."""
    await shop.control("bank", lose_reply_rate=1.0, lose_reply="drop")
    status, document = await customer.order()
    assert status == 202

    async def is_debited() -> bool:
        return document["id"] in (await shop.ledger("bank"))["debits"]

    await until("the bank has taken the money", 10, is_debited)
    await shop.control("bank", lose_reply_rate=0.0)

    async def is_done() -> bool:
        return await customer.state(document["id"]) == "DONE"

    await until("the order with the lost reply is shipped", 15, is_done)


async def _slow_bank_and_hanging_gateway(shop: Shop, customer: Customer) -> None:
    await shop.control("bank", latency_ms=3500)
    await shop.control("gateway", hang=True)
    customer.slowest_s = 0.0
    answers = await customer.orders(40)
    assert [status for status, _ in answers] == [202] * 40
    assert customer.slowest_s < 1.5  # the bank takes 3.5 s; the rest is a busy test machine
    pending = [document["id"] for _, document in answers]
    cancelled = [await customer.cancel(order_id) for order_id in pending[:6]]
    assert set(cancelled) <= {200, 202}
    assert all([await customer.state(order_id) for order_id in pending])


async def _crash(shop: Shop, customer: Customer) -> None:
    """The order service dies with requests in flight, and its successor finds the book."""
    rush = asyncio.create_task(customer.orders(30))
    await asyncio.sleep(0.05)
    shop.kill("order")
    await rush
    shop.start("order")
    await shop.wait_ready("order")
    assert customer.promised <= set(book(shop))


async def _heal(shop: Shop, customer: Customer) -> None:
    await shop.control("bank", latency_ms=25)
    await shop.control("gateway", hang=False)

    async def is_settled() -> bool:
        return set(book(shop).values()) <= FINAL and outbox(shop) == 0

    await until("every order has ended and the outbox is empty", 30, is_settled)
    done = {order_id for order_id, state in book(shop).items() if state == "DONE"}
    notices = {each["order"] for each in (await shop.ledger("gateway"))["notifications"].values()}
    assert done <= notices


async def _stop_under_load(shop: Shop, customer: Customer) -> None:
    """SIGTERM to everything at once, in the middle of a rush."""
    rush = asyncio.create_task(customer.orders(20))
    await asyncio.sleep(0.03)
    codes = await asyncio.to_thread(shop.terminate, SERVICES)
    await rush
    logs = {name: shop.log(name) for name, code in codes.items() if code}
    assert codes == dict.fromkeys(SERVICES, 0), json.dumps(logs, indent=1)
    findings = check(shop.run_dir, await shop.ledger("bank"), await shop.ledger("wms"))
    assert list(findings.broken) == []
    assert customer.promised <= set(book(shop))
    assert shop.terminate(("gateway", "wms", "bank", "infra")) == dict.fromkeys(
        ("gateway", "wms", "bank", "infra"), 0
    )


@pytest.mark.parametrize("shop", ["naive"], indirect=True)
async def test_the_naive_shop_does_the_same_business(shop: Shop) -> None:
    """While all neighbours are quick, the naive shop is as right as the other one."""
    await shop.start_all()
    timeout = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        customer = Customer(session, shop.url("order"))
        answers = await customer.orders(10)
        assert [status for status, _ in answers] == [201] * 10
        assert await customer.cancel(answers[0][1]["id"]) in (202, 409)

        async def is_settled() -> bool:
            return set(book(shop).values()) <= FINAL and outbox(shop) == 0

        await until("every order has ended", 10, is_settled)
    shop.terminate(SERVICES)
    findings = check(shop.run_dir, await shop.ledger("bank"), await shop.ledger("wms"))
    assert list(findings.broken) == []
