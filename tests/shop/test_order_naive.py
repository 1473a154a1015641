"""The naive checkout: right while its neighbours are quick, and it leaks where it says."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator

import pytest
from order_fakes import Bench
from shop.business.orders import Line, Wish
from shop.business.outcome import Money
from shop.order import naive

from backstay import now

WISH = Wish("ann", (Line("winch", 2),))


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A fresh bench."""
    made = Bench()
    yield made
    made.store.close()


class Gateway:
    """Stands in for `send_notice`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, delay_s: float) -> None:
        self.delay_s = delay_s
        self.sent = 0
        monkeypatch.setattr(naive, "send_notice", self.send)

    async def send(self, *_: object) -> None:
        await asyncio.sleep(self.delay_s)
        self.sent += 1


def orders_on(bench: Bench) -> naive.Orders:
    """The naive orders over a bench."""
    orders = naive.Orders()
    orders.book = bench.book
    orders.inventory, orders.payment = bench.peers()
    orders.session, orders.gateway = None, ""  # type: ignore[assignment]
    return orders


async def test_with_quick_neighbours_all_is_well(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paid, notified, and no task left."""
    gateway, orders = Gateway(monkeypatch, 0.01), orders_on(bench)
    assert (await orders.checkout(WISH, "k1", "d")).status == 201
    await asyncio.sleep(1.0)
    assert (gateway.sent, len(orders.background)) == (1, 0)


async def test_a_hanging_gateway_leaves_a_task_for_each_order(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leak: as many tasks as there were paid orders, and nobody waits for them."""
    Gateway(monkeypatch, 3600.0)
    orders = orders_on(bench)
    for number in range(20):
        assert (await orders.checkout(WISH, f"k{number}", "d")).status == 201
    await asyncio.sleep(60.0)
    assert len(orders.background) == 20
    for task in orders.background:
        task.cancel()


async def test_a_slow_bank_keeps_the_customer_waiting(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bank's latency is the shop's latency."""
    Gateway(monkeypatch, 0.01)
    bench.payment.delay_s = 3.5
    began = now()
    assert (await orders_on(bench).checkout(WISH, "k1", "d")).status == 201
    assert now() - began == pytest.approx(3.5)


async def test_a_cancel_gives_the_money_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refund is made within the request."""
    Gateway(monkeypatch, 0.01)
    orders = orders_on(bench)
    await orders.checkout(WISH, "k1", "d")
    order_id = str(bench.rows("SELECT id FROM orders")[0])
    assert (await orders.cancel(order_id)).status == 202
    assert (bench.payment.asked, bench.states()) == (["charge", "refund"], ["REFUNDED"])
    assert (await orders.read(order_id)).status == 200
    assert (await orders.checkout(WISH, "k1", "d")).status == 201  # the kept reply
    assert bench.payment.charged is Money.SETTLED
    await asyncio.sleep(1.0)


def test_the_line_that_leaks_says_so_once() -> None:
    """The marker stands on the one line that starts the task."""
    marked = [line for line in inspect.getsource(naive).splitlines() if "# leak:" in line]
    assert len(marked) == 1
    assert "asyncio.create_task(self.notify(" in marked[0]
