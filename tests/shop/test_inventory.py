"""Inventory: goods are held, sold or given back, and never twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inline_store import InlineStore, as_store
from shop.business.orders import Line
from shop.business.schema import INVENTORY, stock_rows
from shop.contracts import inventory_pb2
from shop.inventory.servicer import InventoryServicer
from shop.inventory.shelves import Shelves

from backstay.testing import run_virtual

WINCH = (Line("winch", 2),)


class Room:
    """Shelves in memory with a clock of their own."""

    def __init__(self, each: int = 5) -> None:
        self.store = InlineStore(INVENTORY + stock_rows(each))
        self.now = 1_000.0
        self.shelves = Shelves(as_store(self.store), lambda: self.now)

    def winches(self) -> tuple[object, ...]:
        """On hand, reserved, sold."""
        return self.store.all("SELECT on_hand, reserved, sold FROM stock WHERE sku = 'winch'")[0]

    def check(self) -> None:
        """No piece is sold or promised twice."""
        for on_hand, reserved, sold, received in self.store.all(
            "SELECT on_hand, reserved, sold, received FROM stock"
        ):
            assert isinstance(on_hand, int)
            assert isinstance(reserved, int)
            assert isinstance(sold, int)
            assert on_hand + sold == received
            assert 0 <= reserved <= on_hand


@pytest.fixture
def room() -> Iterator[Room]:
    """A room with five pieces of each article."""
    made = Room()
    yield made
    made.store.close()


async def test_asking_twice_holds_once(room: Room) -> None:
    """Reserve is idempotent by order, and renews the hold."""
    assert await room.shelves.reserve("a", WINCH, 10)
    room.now += 9
    assert await room.shelves.reserve("a", WINCH, 10)
    assert room.winches() == (5, 2, 0)
    room.now += 9
    assert await room.shelves.sweep() == 0


async def test_what_is_not_there_is_not_promised(room: Room) -> None:
    """The last pieces go to whoever came first; an order is held as a whole or not at all."""
    assert await room.shelves.reserve("a", (Line("winch", 4),), 10)
    assert not await room.shelves.reserve("b", (Line("anchor", 1), Line("winch", 2)), 10)
    assert not await room.shelves.reserve("c", (Line("boat", 1),), 10)
    assert room.store.all("SELECT reserved FROM stock WHERE sku = 'anchor'") == [(0,)]


async def test_confirmed_goods_are_sold_once(room: Room) -> None:
    """Confirm is idempotent, and a confirmed order counts as held."""
    await room.shelves.reserve("a", WINCH, 10)
    assert await room.shelves.confirm(["a"]) == []
    assert await room.shelves.confirm(["a"]) == []
    assert await room.shelves.reserve("a", WINCH, 10)
    await room.shelves.release(["a"])
    assert room.winches() == (3, 0, 2)


async def test_released_goods_are_free_and_stay_released(room: Room) -> None:
    """Release is idempotent, also ahead of the reservation that it overtakes."""
    await room.shelves.reserve("a", WINCH, 10)
    await room.shelves.release(["a", "b"])
    await room.shelves.release(["a", "b"])
    assert room.winches() == (5, 0, 0)
    assert not await room.shelves.reserve("a", WINCH, 10)
    assert not await room.shelves.reserve("b", WINCH, 10)
    assert await room.shelves.confirm(["a", "never seen"]) == ["a", "never seen"]


async def test_a_hold_ends_when_its_time_is_up(room: Room) -> None:
    """The sweeper frees goods, and a paid order gets them back while there are some."""
    await room.shelves.reserve("a", WINCH, 10)
    await room.shelves.reserve("b", WINCH, 10)
    room.now += 10
    assert await room.shelves.sweep() == 2
    assert room.winches() == (5, 0, 0)
    assert await room.shelves.confirm(["a"]) == []
    assert await room.shelves.reserve("c", (Line("winch", 3),), 10)
    assert await room.shelves.confirm(["b"]) == ["b"]
    assert room.winches() == (3, 3, 2)


async def test_the_wire_says_the_same(room: Room) -> None:
    """The gRPC face translates and adds nothing."""
    face = InventoryServicer(room.shelves)
    line = inventory_pb2.Line(sku="winch", quantity=5)
    ask = inventory_pb2.ReserveRequest(order_id="a", lines=[line], ttl_s=10)
    assert (await face.Reserve(ask, None)).outcome == inventory_pb2.ReserveReply.HELD
    ask.order_id = "b"
    assert (await face.Reserve(ask, None)).outcome == inventory_pb2.ReserveReply.SOLD_OUT
    ids = inventory_pb2.OrderIds(order_id=["a", "b"])
    assert list((await face.Confirm(ids, None)).lost) == ["b"]
    await face.Release(ids, None)
    assert room.winches() == (0, 0, 5)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "confirm", "release", "sweep", "wait"]),
        st.sampled_from("abcd"),
        st.integers(1, 4),
    ),
    max_size=40,
)


@settings(max_examples=80, deadline=None)
@given(STEPS)
def test_no_history_oversells(steps: list[tuple[str, str, int]]) -> None:
    """Whatever is asked in whatever order, every piece is in exactly one place."""

    async def live_through() -> None:
        room = Room()
        try:
            for what, order_id, quantity in steps:
                if what == "reserve":
                    await room.shelves.reserve(order_id, (Line("winch", quantity),), 10)
                elif what == "confirm":
                    await room.shelves.confirm([order_id])
                elif what == "release":
                    await room.shelves.release([order_id])
                elif what == "sweep":
                    await room.shelves.sweep()
                else:
                    room.now += 6
                room.check()
        finally:
            room.store.close()

    run_virtual(live_through)
