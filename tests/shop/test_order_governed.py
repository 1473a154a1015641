"""The governed checkout, its notifier, resolver and relay, in virtual time with fake neighbours."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import aiohttp
import pytest
from order_fakes import Bench, silence
from shop.bus import BusClient, Delivery
from shop.business.orders import Line, Wish
from shop.business.outcome import Money, Stock
from shop.order import governed, notifier, relay
from shop.order.book import Letter, Order
from shop.order.notifier import Notifier
from shop.order.peers import NoticeRefused
from shop.order.relay import Relay, repeat
from shop.order.resolver import PLACES, Resolver

import backstay
from backstay import Scope, now

WISH = Wish("ann", (Line("winch", 2),))


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A fresh bench."""
    made = Bench()
    yield made
    made.store.close()


class SilentNotifier:
    """Takes letters and keeps them."""

    def __init__(self) -> None:
        self.letters: list[Letter] = []

    def send_soon(self, letter: Letter) -> None:
        self.letters.append(letter)


def orders_on(bench: Bench) -> tuple[governed.Orders, SilentNotifier]:
    """The governed orders over a bench."""
    orders, silent = governed.Orders(), SilentNotifier()
    orders.book = bench.book
    orders.inventory, orders.payment = bench.peers()
    orders.notifier = cast("Notifier", silent)
    return orders, silent


async def open_order(bench: Bench, stock: Stock, money: Money, key: str = "k1") -> Order:
    """An order that was settled like this and is due."""
    order = await bench.book.place(WISH, key, "d")
    assert isinstance(order, Order)
    await bench.book.settle(order, key, stock, money)
    await asyncio.sleep(6.0)
    found = await bench.book.find(order.id)
    assert found is not None
    return found


async def test_a_quick_bank_means_a_paid_order_and_a_notification(bench: Bench) -> None:
    """The healthy road: 201, and the notification goes out with its outbox number."""
    orders, silent = orders_on(bench)
    began = now()
    reply = await orders.checkout(WISH, "k1", "d")
    assert reply.status == 201
    assert now() - began == pytest.approx(0.03)  # inventory and payment were asked side by side
    assert [letter.payload for letter in silent.letters] == ["paid"]


async def test_a_slow_bank_costs_a_tenth_of_a_second_and_no_more(bench: Bench) -> None:
    """When the bank does not answer in time the order is accepted as pending."""
    orders, silent = orders_on(bench)
    bench.payment.delay_s = 3.5
    began = now()
    reply = await orders.checkout(WISH, "k1", "d")
    assert reply.status == 202
    assert now() - began == pytest.approx(governed.CHARGE_S)
    assert (bench.states(), bench.outbox(), silent.letters) == (["PAYING"], [], [])


async def test_a_refused_charge_is_answered_at_once(bench: Bench) -> None:
    """With no place at the bank the customer does not wait at all."""
    orders, _ = orders_on(bench)
    bench.payment.charged, bench.payment.delay_s = Money.NOT_ASKED, 0.001
    began = now()
    assert (await orders.checkout(WISH, "k1", "d")).status == 202
    assert now() - began < 0.01
    assert bench.states() == ["RESERVED"]


async def test_without_inventorys_answer_the_order_stays_new(bench: Bench) -> None:
    """No promise is given on stock that nobody confirmed; the resolver will ask again."""
    orders, _ = orders_on(bench)
    bench.inventory.delay_s = 5.0
    assert (await orders.checkout(WISH, "k1", "d")).status == 202
    assert bench.states() == ["NEW"]


async def test_the_deadline_of_the_request_is_passed_on(bench: Bench) -> None:
    """With 40 ms left payment hears 40 ms, and not the usual 100."""
    orders, _ = orders_on(bench)
    bench.payment.delay_s = 0.01
    async with backstay.timeout(0.04):
        assert (await orders.checkout(WISH, "k1", "d")).status == 201
    assert (await orders.checkout(WISH, "k2", "d")).status == 201
    assert bench.payment.timeouts == [pytest.approx(0.04), governed.CHARGE_S]


async def test_a_repeated_request_asks_nobody_twice(bench: Bench) -> None:
    """The kept reply is given without touching inventory or payment."""
    orders, _ = orders_on(bench)
    first = await orders.checkout(WISH, "k1", "d")
    assert await orders.checkout(WISH, "k1", "d") == first
    assert bench.payment.asked == ["charge"]


class Gateway:
    """Stands in for `send_notice`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.delay_s = 0.01
        self.error: Exception | None = None
        self.sent: list[str] = []
        monkeypatch.setattr(notifier, "send_notice", self.send)

    async def send(self, session: object, gateway: str, order_id: str, kind: str) -> None:
        await asyncio.sleep(self.delay_s)
        if self.error is not None:
            raise self.error
        self.sent.append(order_id)


def notifier_on(bench: Bench, scope: Scope) -> Notifier:
    """A notifier over a bench."""
    return Notifier(scope, cast("aiohttp.ClientSession", None), "http://gateway", bench.book)


async def paid_letters(bench: Bench, count: int) -> list[Letter]:
    """Paid orders with their notifications still in the outbox."""
    for index in range(count):
        order = await bench.book.place(WISH, f"k{index}", "d")
        assert isinstance(order, Order)
        await bench.book.settle(order, f"k{index}", Stock.HELD, Money.SETTLED)
    rows = bench.store.all("SELECT n, order_id FROM outbox WHERE topic = 'notify' ORDER BY n")
    return [Letter(cast("int", n), cast("str", order_id), "paid", 0) for n, order_id in rows]


async def test_a_notification_that_arrived_leaves_the_outbox(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First attempt, success, and the row goes with the next round."""
    gateway = Gateway(monkeypatch)
    letters = await paid_letters(bench, 3)
    async with Scope("notices", max_tasks=16) as scope:
        sender = notifier_on(bench, scope)
        for letter in letters:
            sender.send_soon(letter)
    assert bench.outbox().count("notify") == 3
    await sender.flush()
    assert bench.outbox().count("notify") == 0
    assert len(gateway.sent) == 3


async def test_a_hanging_gateway_holds_only_so_many_tasks(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What finds no place is not started and not lost: a later round delivers it."""
    gateway = Gateway(monkeypatch)
    gateway.delay_s = 3600.0
    letters = await paid_letters(bench, 40)
    async with Scope("notices", max_tasks=16) as scope:
        sender = notifier_on(bench, scope)
        for letter in letters:
            sender.send_soon(letter)
        assert len(scope.tasks) == 16
        began = now()
        await asyncio.wait(scope.tasks)
        assert now() - began == pytest.approx(notifier.PATIENCE_S)
        await asyncio.sleep(5.0)
        assert await sender.retry() == 0  # still hanging: nothing arrived, all kept
        assert bench.outbox().count("notify") == 40
        gateway.delay_s = 0.01
        await asyncio.sleep(5.0)
        while await sender.retry():
            pass
    assert sorted(gateway.sent) == sorted(letter.order_id for letter in letters)
    assert bench.outbox().count("notify") == 0


@pytest.mark.parametrize("error", [NoticeRefused("503"), aiohttp.ClientError(), OSError()])
async def test_a_refused_notification_is_tried_again_later(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A failing attempt backs off and keeps its row."""
    gateway = Gateway(monkeypatch)
    gateway.error = error
    await paid_letters(bench, 1)
    await asyncio.sleep(5.0)
    async with Scope("notices", max_tasks=16) as scope:
        sender = notifier_on(bench, scope)
        assert await sender.retry() == 0
        assert bench.rows("SELECT attempts FROM outbox WHERE topic = 'notify'") == [1]
        assert await sender.retry() == 0  # not due yet
        gateway.error = None
        await asyncio.sleep(5.0)
        assert await sender.retry() == 1


async def test_the_resolver_asks_before_it_charges_again(bench: Bench) -> None:
    """A charge that is known to the bank is not repeated."""
    await open_order(bench, Stock.HELD, Money.UNKNOWN)
    bench.payment.queried = Money.SETTLED
    assert await Resolver(bench.book, *bench.peers()).round() == 1
    assert (bench.payment.asked, bench.states()) == (["query"], ["PAID"])


async def test_the_resolver_charges_what_the_bank_never_heard_of(bench: Bench) -> None:
    """Query, then charge, then paid and announced."""
    await open_order(bench, Stock.HELD, Money.UNKNOWN)
    assert await Resolver(bench.book, *bench.peers()).round() == 1
    assert (bench.payment.asked, bench.states()) == (["query", "charge"], ["PAID"])
    assert bench.outbox() == ["paid", "notify"]


async def test_an_order_the_bank_was_never_asked_about_is_charged_at_once(bench: Bench) -> None:
    """RESERVED needs no query, and is PAYING before the bank hears of it."""
    await open_order(bench, Stock.HELD, Money.NOT_ASKED)
    bench.payment.charged = Money.UNKNOWN
    assert await Resolver(bench.book, *bench.peers()).round() == 0
    assert (bench.payment.asked, bench.states()) == (["charge"], ["PAYING"])


async def test_a_new_order_left_behind_by_a_crash_is_finished(bench: Bench) -> None:
    """What a dead process left in NEW is reserved, asked after, charged and paid."""
    await bench.book.place(WISH, "k1", "d")
    await asyncio.sleep(6.0)
    assert await Resolver(bench.book, *bench.peers()).round() == 1
    assert (bench.payment.asked, bench.states()) == (["query", "charge"], ["PAID"])


@pytest.mark.parametrize(
    ("money", "state"), [(Money.NOT_ASKED, "REJECTED"), (Money.UNKNOWN, "REFUNDING")]
)
async def test_goods_that_are_gone_end_the_order(bench: Bench, money: Money, state: str) -> None:
    """Sold out meanwhile: rejected, or refunded when the bank had been asked."""
    await open_order(bench, Stock.HELD, money)
    bench.inventory.stock = Stock.SOLD_OUT
    assert await Resolver(bench.book, *bench.peers()).round() == 1
    assert bench.states() == [state]


async def test_a_refund_is_repeated_until_it_is_certain(bench: Bench) -> None:
    """REFUNDING stays while payment does not know, and ends as REFUNDED."""
    order = await open_order(bench, Stock.HELD, Money.SETTLED)
    await bench.book.cancel(order.id)
    resolver = Resolver(bench.book, *bench.peers())
    bench.payment.refunded = False
    assert await resolver.round() == 0
    bench.payment.refunded = True
    await asyncio.sleep(5.0)
    assert await resolver.round() == 1
    assert bench.states() == ["REFUNDED"]


async def test_silent_peers_postpone_the_order(bench: Bench) -> None:
    """An order whose peers are away is looked at later, and later still."""
    await open_order(bench, Stock.HELD, Money.UNKNOWN)
    bench.payment.delay_s = 60.0
    resolver = Resolver(bench.book, *bench.peers())
    assert await resolver.round() == 0
    assert bench.rows("SELECT attempts FROM orders") == [1]
    assert await bench.book.due(10) == []


async def test_the_resolver_works_on_few_orders_at_a_time(bench: Bench) -> None:
    """A backlog of any size is worked off in rounds of `PLACES`."""
    for index in range(PLACES + 3):
        await open_order(bench, Stock.HELD, Money.NOT_ASKED, f"k{index}")
    resolver = Resolver(bench.book, *bench.peers())
    assert await resolver.round() == PLACES
    assert await resolver.round() == 3
    assert set(bench.states()) == {"PAID"}


class FakeBus:
    """Keeps what is published, hands out what was put in."""

    def __init__(self) -> None:
        self.published: list[tuple[str, str, bytes]] = []
        self.waiting: list[Delivery] = []
        self.acked: list[Delivery] = []
        self.down = False

    async def publish(self, topic: str, messages: list[tuple[str, bytes]]) -> None:
        if self.down:
            raise silence()
        self.published += [(topic, dedup_id, payload) for dedup_id, payload in messages]

    async def pull(self, topic: str, group: str, **_: Any) -> list[Delivery]:
        taken, self.waiting = self.waiting, []
        return taken

    async def ack(self, deliveries: list[Delivery]) -> None:
        self.acked += deliveries


async def test_a_paid_order_is_confirmed_published_and_closed(bench: Bench) -> None:
    """From PAID over SHIPPING to DONE, goods confirmed before the message goes out."""
    order = await open_order(bench, Stock.HELD, Money.SETTLED)
    bus = FakeBus()
    carrier = Relay(bench.book, bench.peers()[0], cast("BusClient", bus), 5.0)
    assert await carrier.ship() == 1
    assert bench.inventory.confirmed == [order.id]
    assert bus.published == [(relay.PAID, order.id, f'{order.id} [["winch",2]]'.encode())]
    assert (bench.states(), bench.outbox()) == (["SHIPPING"], ["notify"])
    bus.waiting = [Delivery(1, order.id, order.id.encode(), 1)]
    assert await carrier.learn() == 1
    assert (bench.states(), len(bus.acked)) == (["DONE"], 1)
    assert await carrier.ship() == 0


async def test_a_dead_bus_delays_the_shipment_and_loses_nothing(bench: Bench) -> None:
    """The outbox row stays until the bus has the message."""
    order = await open_order(bench, Stock.HELD, Money.SETTLED)
    bus = FakeBus()
    bus.down = True
    carrier = Relay(bench.book, bench.peers()[0], cast("BusClient", bus), 5.0)
    loop = asyncio.get_running_loop().create_task(repeat(carrier.ship, 0.1))
    await asyncio.sleep(3.0)
    assert "paid" in bench.outbox()
    bus.down = False
    await asyncio.sleep(3.0)
    loop.cancel()
    assert [each[1] for each in bus.published] == [order.id]
    assert "paid" not in bench.outbox()


async def test_lost_goods_of_a_paid_order_need_a_human(bench: Bench) -> None:
    """When even the second look finds no goods, nobody ships and somebody is told."""
    order = await open_order(bench, Stock.HELD, Money.SETTLED)
    bench.inventory.lost = [order.id]
    bus = FakeBus()
    await Relay(bench.book, bench.peers()[0], cast("BusClient", bus), 5.0).ship()
    assert (bench.states(), bus.published) == (["NEEDS_HUMAN"], [])


async def test_goods_of_a_cancelled_order_are_given_back(bench: Bench) -> None:
    """The release row is carried to inventory once."""
    order = await open_order(bench, Stock.HELD, Money.NOT_ASKED)
    await bench.book.cancel(order.id)
    carrier = Relay(bench.book, bench.peers()[0], cast("BusClient", FakeBus()), 5.0)
    assert await carrier.give_back() == 1
    assert bench.inventory.released == [order.id]
    assert await carrier.give_back() == 0


async def test_a_full_round_is_followed_at_once() -> None:
    """`repeat` only pauses when there is nothing left."""
    counts = [3, 3, 1, 3, 0]
    at: list[float] = []

    async def work() -> int:
        at.append(now())
        return counts[len(at) - 1] if len(at) <= len(counts) else 0

    began = now()
    loop = asyncio.get_running_loop().create_task(repeat(work, 1.0, 3))
    await asyncio.sleep(2.5)
    loop.cancel()
    assert [round(each - began, 3) for each in at] == [0.0, 0.0, 0.0, 1.0, 1.0, 2.0]
