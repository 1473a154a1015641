"""Fulfilment: what is shipped is noted, announced and acknowledged; what is not comes again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any, cast

import aiohttp
import pytest
from inline_store import InlineStore, as_store
from shop.bus import BusClient, BusError, Delivery
from shop.business.orders import Line
from shop.business.schema import FULFILMENT
from shop.fulfilment import governed
from shop.fulfilment.governed import BATCH, PATIENCE_S, PLACES, Consumer
from shop.fulfilment.warehouse import (
    SHIPPED,
    WarehouseTrouble,
    note,
    read_message,
    request_shipment,
)

from backstay import now


class FakeBus:
    """Hands out what was put in and keeps what comes back."""

    def __init__(self) -> None:
        self.waiting: list[Delivery] = []
        self.published: list[str] = []
        self.acked: list[str] = []
        self.naked: list[tuple[str, bool]] = []
        self.down = False

    def put(self, count: int, payload: bytes | None = None) -> None:
        for index in range(count):
            good = f'o{index} [["winch",1]]'.encode()
            text = good if payload is None else payload
            self.waiting.append(Delivery(index, f"o{index}", text, 1))

    async def pull(self, topic: str, group: str, *, max_messages: int, **_: Any) -> list[Delivery]:
        if self.down:
            raise BusError("gone")
        taken, self.waiting = self.waiting[:max_messages], self.waiting[max_messages:]
        if not taken:
            await asyncio.sleep(1.0)
        return taken

    async def publish(self, topic: str, messages: list[tuple[str, bytes]]) -> None:
        assert topic == SHIPPED
        self.published += [dedup_id for dedup_id, _ in messages]

    async def ack(self, deliveries: list[Delivery]) -> None:
        self.acked += [delivery.dedup_id for delivery in deliveries]

    async def nak(
        self, deliveries: list[Delivery], *, delay_s: float, refund_attempt: bool = False
    ) -> None:
        self.naked += [(delivery.dedup_id, refund_attempt) for delivery in deliveries]


class Site:
    """A consumer between a fake bus and a warehouse made of timers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store = InlineStore(FULFILMENT)
        self.bus = FakeBus()
        self.delay_s = 0.02
        self.refusing: set[str] = set()
        self.inside = self.most = 0
        session = cast("aiohttp.ClientSession", None)
        self.consumer = Consumer(
            as_store(self.store), cast("BusClient", self.bus), session, "http://wms"
        )
        monkeypatch.setattr(governed, "request_shipment", self.ship)

    async def ship(self, session: object, wms: str, payload: bytes) -> tuple[str, str]:
        order_id, _ = read_message(payload)
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await asyncio.sleep(self.delay_s)
        finally:
            self.inside -= 1
        if order_id in self.refusing:
            raise WarehouseTrouble("503")
        return order_id, "w1"

    def shipments(self) -> list[object]:
        return [row[0] for row in self.store.all("SELECT order_id FROM shipment ORDER BY 1")]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A fresh site."""
    made = Site(monkeypatch)
    yield made
    made.store.close()


async def test_a_batch_is_shipped_noted_announced_and_acknowledged(site: Site) -> None:
    """The whole road, never more at the warehouse than there are places."""
    site.bus.put(40)
    assert await site.consumer.batch() == 40
    assert len(site.shipments()) == len(site.bus.published) == len(site.bus.acked) == 40
    assert (site.bus.naked, site.most) == ([], PLACES)


async def test_a_refused_shipment_comes_again_and_is_not_blamed(site: Site) -> None:
    """The other orders go out; the refused one keeps its attempts."""
    site.bus.put(3)
    site.refusing = {"o1"}
    await site.consumer.batch()
    assert site.shipments() == ["o0", "o2"]
    assert (site.bus.acked, site.bus.naked) == (["o0", "o2"], [("o1", True)])


async def test_a_hanging_warehouse_costs_patience_and_no_more(site: Site) -> None:
    """Every place is given back when the answer is late."""
    site.bus.put(PLACES)
    site.delay_s = 3600.0
    began = now()
    await site.consumer.batch()
    assert now() - began == pytest.approx(PATIENCE_S)
    assert (site.inside, site.shipments(), len(site.bus.naked)) == (0, [], PLACES)


@pytest.mark.parametrize("payload", [b"", b"o1", b"o1 {", b"o1 [3]", b"\xff\xff x"])
async def test_poison_counts_as_an_attempt_and_stops_nobody(site: Site, payload: bytes) -> None:
    """An unreadable message goes towards the dead letters while others flow."""
    site.bus.put(1, payload)
    site.bus.waiting.append(Delivery(9, "o9", b'o9 [["winch",1]]', 1))
    await site.consumer.batch()
    assert (site.bus.naked, site.bus.acked) == ([("o0", False)], ["o9"])


async def test_the_consumer_outlives_a_dead_bus(site: Site) -> None:
    """It tries again until the bus is back, and ends when it is cancelled."""
    site.bus.down = True
    site.bus.put(2)
    consuming = asyncio.get_running_loop().create_task(site.consumer.run(asyncio.Event()))
    await asyncio.sleep(10.0)
    site.bus.down = False
    await asyncio.sleep(10.0)
    consuming.cancel()
    await asyncio.wait([consuming])
    assert consuming.cancelled()
    assert sorted(site.bus.acked) == ["o0", "o1"]


async def test_told_to_leave_it_finishes_the_batch_in_hand_and_takes_no_other(site: Site) -> None:
    """What was taken is acknowledged, so that nobody waits for its lease to end; the rest waits where it is safe."""
    site.bus.put(BATCH + 3)
    leave = asyncio.Event()
    consuming = asyncio.get_running_loop().create_task(site.consumer.run(leave))
    await asyncio.sleep(site.delay_s / 2)
    assert not site.bus.acked
    leave.set()
    await consuming
    assert len(site.bus.acked) == BATCH
    assert len(site.bus.waiting) == 3


async def test_noting_a_shipment_twice_keeps_the_first(site: Site) -> None:
    """Redelivery changes nothing in the table."""
    await note(as_store(site.store), [("a", "w1")])
    await note(as_store(site.store), [("a", "w2"), ("b", "w3")])
    rows = site.store.all("SELECT order_id, wms_ref FROM shipment ORDER BY 1")
    assert rows == [("a", "w1"), ("b", "w3")]


class FakeSession:
    """One answer of the warehouse."""

    def __init__(self, status: int, raw: bytes) -> None:
        self.status = status
        self.raw = raw
        self.sent: Any = None

    def post(self, url: str, *, data: bytes, headers: object) -> FakeSession:
        self.sent = url, json.loads(data)
        return self

    async def read(self) -> bytes:
        return self.raw

    async def __aenter__(self) -> FakeSession:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None


async def test_a_shipment_request_says_what_to_ship() -> None:
    """The message becomes the warehouse's document, its answer a reference."""
    session = FakeSession(200, b'{"ref": "w7"}')
    client = cast("aiohttp.ClientSession", session)
    assert await request_shipment(client, "http://wms", b'a [["winch",2]]') == ("a", "w7")
    lines = [{"sku": "winch", "quantity": 2}]
    assert session.sent == ("http://wms/shipments", {"id": "a", "lines": lines})
    assert read_message(b'a [["winch",2]]') == ("a", (Line("winch", 2),))


@pytest.mark.parametrize(("status", "raw"), [(503, b"{}"), (200, b"<html>"), (200, b"[]")])
async def test_an_unusable_answer_is_trouble(status: int, raw: bytes) -> None:
    """Neither an error status nor another document counts as shipped."""
    session = cast("aiohttp.ClientSession", FakeSession(status, raw))
    with pytest.raises(WarehouseTrouble):
        await request_shipment(session, "http://wms", b'a [["winch",2]]')
