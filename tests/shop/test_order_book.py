"""The order book: idempotency, the saga's writes, the outbox."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inline_store import InlineStore, as_store
from shop.business.orders import Line, OrderRefused, Wish
from shop.business.outcome import Money, Stock
from shop.business.schema import ORDER
from shop.business.states import OPEN, State
from shop.order.book import LEASE_S, Book, Letter, Order, Reply, new_id

from backstay.testing import run_virtual

WISH = Wish("ann", (Line("winch", 2),))


class Clock:
    """Unix seconds that move when told."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Desk:
    """A book over a store in memory, with a clock of its own."""

    def __init__(self) -> None:
        self.store = InlineStore(ORDER)
        self.clock = Clock()
        self.book = Book(as_store(self.store), self.clock)

    async def order(self, key: str = "k1") -> Order:
        order = await self.book.place(WISH, key, "d1")
        assert isinstance(order, Order)
        return order

    async def settled(self, stock: Stock, money: Money, key: str = "k1") -> Order:
        order = await self.order(key)
        await self.book.settle(order, key, stock, money)
        found = await self.book.find(order.id)
        assert found is not None
        return found

    def topics(self) -> list[str]:
        return [str(topic) for (topic,) in self.store.all("SELECT topic FROM outbox ORDER BY n")]


@pytest.fixture
def desk() -> Iterator[Desk]:
    """A fresh desk."""
    made = Desk()
    yield made
    made.store.close()


def state_in(reply: Reply) -> str:
    """The state that a reply tells the customer."""
    return str(json.loads(reply.body)["state"])


async def test_the_same_request_gets_the_same_reply(desk: Desk) -> None:
    """A repeated create is answered from the book, byte for byte, and makes no second order."""
    order = await desk.order()
    reply, _ = await desk.book.settle(order, "k1", Stock.HELD, Money.SETTLED)
    assert (reply.status, state_in(reply)) == (201, "PAID")
    assert await desk.book.place(WISH, "k1", "d1") == reply
    assert desk.store.all("SELECT count(*) FROM orders") == [(1,)]


async def test_the_same_key_with_another_body_is_refused(desk: Desk) -> None:
    """One key stands for one body, before and after the first reply."""
    order = await desk.order()
    for _ in range(2):
        reply = await desk.book.place(WISH, "k1", "d2")
        assert isinstance(reply, Reply)
        assert reply.status == 422
        await desk.book.settle(order, "k1", Stock.HELD, Money.SETTLED)


async def test_two_requests_with_one_key_at_once_make_one_order(desk: Desk) -> None:
    """The second request hears 409 while the first is under way."""
    await desk.order()
    reply = await desk.book.place(WISH, "k1", "d1")
    assert isinstance(reply, Reply)
    assert reply.status == 409


async def test_keys_of_two_customers_do_not_meet(desk: Desk) -> None:
    """A key belongs to its customer."""
    await desk.order()
    other = await desk.book.place(Wish("bob", WISH.lines), "k1", "d1")
    assert isinstance(other, Order)


async def test_a_request_that_died_can_be_repeated_after_its_lease(desk: Desk) -> None:
    """When the first request never answered, a later one hears of the order as it stands."""
    order = await desk.order()
    desk.clock.now += LEASE_S + 0.1
    reply = await desk.book.place(WISH, "k1", "d1")
    assert isinstance(reply, Reply)
    assert (reply.status, json.loads(reply.body)["id"]) == (202, order.id)
    assert [each.id for each in await desk.book.due(10)] == [order.id]


async def test_an_unknown_article_leaves_nothing_behind(desk: Desk) -> None:
    """An order that cannot be priced is not written."""
    with pytest.raises(OrderRefused):
        await desk.book.place(Wish("ann", (Line("boat", 1),)), "k1", "d1")
    assert desk.store.all("SELECT count(*) FROM orders") == [(0,)]


@pytest.mark.parametrize(
    ("stock", "money", "status", "state", "topics"),
    [
        (Stock.HELD, Money.SETTLED, 201, State.PAID, ["paid", "notify"]),
        (Stock.HELD, Money.NOT_ASKED, 202, State.RESERVED, []),
        (Stock.HELD, Money.UNKNOWN, 202, State.PAYING, []),
        (Stock.HELD, Money.DECLINED, 409, State.REJECTED, ["release"]),
        (Stock.UNKNOWN, Money.SETTLED, 202, State.NEW, []),
        (Stock.UNKNOWN, Money.DECLINED, 409, State.REJECTED, ["release"]),
        (Stock.SOLD_OUT, Money.SETTLED, 409, State.REFUNDING, []),
        (Stock.SOLD_OUT, Money.NOT_ASKED, 409, State.REJECTED, []),
    ],
)
async def test_settling_writes_state_outbox_and_reply_together(
    desk: Desk, stock: Stock, money: Money, status: int, state: State, topics: list[str]
) -> None:
    """Each pair of answers leads to its state, its outbox rows and its reply."""
    order = await desk.order()
    reply, notice = await desk.book.settle(order, "k1", stock, money)
    assert (reply.status, state_in(reply)) == (status, state)
    assert desk.topics() == topics
    assert (notice is not None) == ("notify" in topics)
    assert await desk.book.place(WISH, "k1", "d1") == reply


async def test_the_naive_shop_writes_no_notification(desk: Desk) -> None:
    """Without `announce` the outbox has the shipment only."""
    order = await desk.order()
    await desk.book.settle(order, "k1", Stock.HELD, Money.SETTLED, announce=False)
    assert desk.topics() == ["paid"]


async def test_a_late_settlement_does_not_undo_a_cancel(desk: Desk) -> None:
    """Who settles an order that has been cancelled meanwhile changes nothing."""
    order = await desk.settled(Stock.HELD, Money.UNKNOWN)
    assert (await desk.book.cancel(order.id)).status == 202
    reply, notice = await desk.book.settle(order, None, Stock.HELD, Money.SETTLED)
    assert (state_in(reply), notice) == ("REFUNDING", None)
    assert desk.topics() == ["release"]


@pytest.mark.parametrize(
    ("money", "status", "state"),
    [
        (Money.NOT_ASKED, 200, State.CANCELLED),
        (Money.UNKNOWN, 202, State.REFUNDING),
        (Money.SETTLED, 202, State.REFUNDING),
    ],
)
async def test_a_cancel_refunds_exactly_when_money_may_have_moved(
    desk: Desk, money: Money, status: int, state: State
) -> None:
    """Cancelling is immediate before the bank was asked, and a refund after that."""
    order = await desk.settled(Stock.HELD, money)
    reply = await desk.book.cancel(order.id)
    assert (reply.status, state_in(reply)) == (status, state)
    assert desk.topics() == ["release"]
    again = await desk.book.cancel(order.id)
    assert (again.status, state_in(again)) == (status, state)


async def test_a_handed_over_order_cannot_be_cancelled(desk: Desk) -> None:
    """Hand-over is the point of no return, and it ends in DONE."""
    order = await desk.settled(Stock.HELD, Money.SETTLED)
    letters = await desk.book.hand_over(10)
    assert [letter.order_id for letter in letters] == [order.id]
    assert (await desk.book.cancel(order.id)).status == 409
    # Not delivered yet, so a crash here hands it over again.
    assert await desk.book.hand_over(10) == letters
    await desk.book.delivered([letter.n for letter in letters])
    assert await desk.book.hand_over(10) == []
    await desk.book.finish([order.id, "unknown"], State.DONE)
    assert state_in(await desk.book.read(order.id)) == "DONE"


async def test_what_is_unknown_is_not_found(desk: Desk) -> None:
    """Reading, finding and cancelling an unknown order say so."""
    assert (await desk.book.read("x")).status == 404
    assert (await desk.book.cancel("x")).status == 404
    assert await desk.book.find("x") is None


async def test_a_new_order_cannot_be_cancelled(desk: Desk) -> None:
    """While its request is under way an order is not cancelled behind its back."""
    order = await desk.order()
    assert (await desk.book.cancel(order.id)).status == 409


async def test_an_outbox_number_is_never_given_twice(desk: Desk) -> None:
    """Forgetting a row by number cannot hit a later row (this lost shipments once)."""
    order = await desk.order("k1")
    _, notice = await desk.book.settle(order, "k1", Stock.HELD, Money.SETTLED)
    assert notice is not None
    await desk.book.cancel(order.id)  # deletes the notification, the last row
    await desk.settled(Stock.HELD, Money.SETTLED, "k2")
    await desk.book.delivered([notice])  # the notification had arrived nevertheless
    assert sorted(desk.topics()) == ["notify", "paid", "release"]


async def test_letters_wait_longer_after_each_failure(desk: Desk) -> None:
    """A failed outbox row comes back after 1, 2, 4 ... seconds, up to the ceiling."""
    await desk.settled(Stock.HELD, Money.SETTLED)
    assert await desk.book.letters("notify", 10) == []  # the first attempt is under way
    desk.clock.now += 100
    pauses: list[float] = []
    for _ in range(5):
        letters = await desk.book.letters("notify", 10)
        await desk.book.failed(letters, 5.0)
        began = desk.clock.now
        while not await desk.book.letters("notify", 10):
            desk.clock.now += 0.5
        pauses.append(desk.clock.now - began)
    assert pauses == [1.0, 2.0, 4.0, 5.0, 5.0]


async def test_postponed_orders_come_back_later(desk: Desk) -> None:
    """An order is due when its time has come, and counts its attempts."""
    order = await desk.settled(Stock.HELD, Money.UNKNOWN)
    assert await desk.book.due(10) == []
    desk.clock.now += 1.0
    assert [each.id for each in await desk.book.due(10)] == [order.id]
    await desk.book.postpone(order, 2.0)
    assert await desk.book.due(10) == []
    desk.clock.now += 2.0
    assert [each.attempts for each in await desk.book.due(10)] == [1]


async def test_an_illegal_move_is_refused(desk: Desk) -> None:
    """The book does not write what the table forbids, and loses a race quietly."""
    order = await desk.settled(Stock.HELD, Money.NOT_ASKED)
    with pytest.raises(ValueError, match="RESERVED to DONE"):
        await desk.book.move(order, State.DONE)
    assert await desk.book.move(order, State.PAYING)
    assert not await desk.book.move(order, State.PAYING)


def test_ids_sort_by_time() -> None:
    """Later orders have larger ids, so the tree grows at its end."""
    first = new_id()
    assert len(first) == 24
    assert new_id()[:12] >= first[:12]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["place", "settle", "cancel", "hand_over", "delivered", "finish", "refund"]
        ),
        st.integers(0, 3),
        st.sampled_from(Stock),
        st.sampled_from(Money),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_no_history_breaks_the_book(steps: list[tuple[str, int, Stock, Money]]) -> None:
    """Whatever happens in whatever order, a paid order is announced, and no other one is."""
    run_virtual(lambda: _live_through(steps))


async def _live_through(steps: list[tuple[str, int, Stock, Money]]) -> None:
    desk = Desk()
    orders: list[Order] = []
    held: list[Letter] = []
    try:
        for what, which, stock, money in steps:
            if what == "place":
                orders.append(await desk.order(f"k{len(orders)}"))
            elif what == "hand_over":
                held = await desk.book.hand_over(10)
            elif what == "delivered":
                await desk.book.delivered([letter.n for letter in held])
            elif orders:
                order = await desk.book.find(orders[which % len(orders)].id)
                assert order is not None
                if what == "settle" and order.state in OPEN:
                    await desk.book.settle(order, None, stock, money)
                elif what == "cancel":
                    await desk.book.cancel(order.id)
                elif what == "finish":
                    await desk.book.finish([order.id], State.DONE)
                elif what == "refund" and order.state is State.REFUNDING:
                    await desk.book.move(order, State.REFUNDED)
            _check(desk)
    finally:
        desk.store.close()


def _check(desk: Desk) -> None:
    states = dict(desk.store.all("SELECT id, state FROM orders"))
    announced = {
        each for (each,) in desk.store.all("SELECT order_id FROM outbox WHERE topic = 'paid'")
    }
    assert {each for each, state in states.items() if state == "PAID"} <= announced
    assert {states[each] for each in announced} <= {"PAID", "SHIPPING", "DONE"}
