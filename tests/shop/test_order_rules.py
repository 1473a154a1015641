"""What the shop decides: states, outcomes, parsing, prices."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shop.business import pricing
from shop.business.orders import (
    MAX_BODY,
    MAX_LINES,
    Line,
    OrderRefused,
    check_key,
    decode_lines,
    encode_lines,
    fingerprint,
    parse,
)
from shop.business.outcome import Money, Stock, decide, must_release, status_of
from shop.business.states import MONEY_MAY_BE_HELD, MOVES, OPEN, State, may_move, sources

LINES = st.lists(
    st.builds(Line, st.sampled_from(sorted(pricing.PRICES)), st.integers(1, 100)),
    min_size=1,
    max_size=MAX_LINES,
    unique_by=lambda line: line.sku,
)


def body(**changes: object) -> bytes:
    """A good order with some fields replaced."""
    document: dict[str, object] = {"customer": "ann", "lines": [{"sku": "winch", "quantity": 2}]}
    return json.dumps(document | changes).encode()


def test_every_state_is_in_the_table_and_final_states_stay() -> None:
    """The table is complete, and an order in a final state has nowhere to go."""
    assert set(MOVES) == set(State)
    final = {state for state, targets in MOVES.items() if not targets}
    assert final == {
        State.DONE,
        State.REJECTED,
        State.CANCELLED,
        State.REFUNDED,
        State.NEEDS_HUMAN,
    }
    assert not final & OPEN


def test_every_state_can_be_reached_and_every_open_order_can_end() -> None:
    """No state is an island, and from every state there is a road to a final one."""
    reached, grown = {State.NEW}, {State.NEW}
    while grown:
        grown = {target for state in grown for target in MOVES[state]} - reached
        reached |= grown
    assert reached == set(State)
    ends = {state for state, targets in MOVES.items() if not targets}
    for _ in State:
        ends |= {state for state, targets in MOVES.items() if targets & ends}
    assert ends == set(State)


def test_sources_is_the_table_read_backwards() -> None:
    """`sources` and `may_move` say the same."""
    for target in State:
        assert set(sources(target)) == {state for state in State if may_move(state, target)}


@pytest.mark.parametrize("stock", Stock)
@pytest.mark.parametrize("money", Money)
def test_a_decision_never_loses_money_and_never_promises_goods(stock: Stock, money: Money) -> None:
    """Whatever the peers answer, the next state is legal and honest about money and goods."""
    state = decide(stock, money)
    assert state is State.NEW or may_move(State.NEW, state)
    if money in (Money.SETTLED, Money.UNKNOWN):
        assert state in MONEY_MAY_BE_HELD
    if state is State.PAID:
        assert (stock, money) == (Stock.HELD, Money.SETTLED)
    if Stock.UNKNOWN is stock or money is Money.UNKNOWN:
        assert state in OPEN or money is Money.DECLINED
    assert must_release(stock, state) == (state is State.REJECTED and stock is not Stock.SOLD_OUT)


def test_statuses_tell_paid_pending_and_refused_apart() -> None:
    """201 is only said of paid orders and 202 only of those still under way."""
    assert {state for state in State if status_of(state) == 201} == {
        State.PAID,
        State.SHIPPING,
        State.DONE,
    }
    assert {state for state in State if status_of(state) == 202} == OPEN - {State.REFUNDING}


@given(st.text(min_size=1, max_size=64).filter(str.isprintable), LINES)
def test_a_good_order_is_read_as_it_was_written(customer: str, lines: list[Line]) -> None:
    """Parsing loses and invents nothing, and neither does the form kept in the database."""
    wish = parse(
        body(customer=customer, lines=[{"sku": x.sku, "quantity": x.quantity} for x in lines])
    )
    assert (wish.customer, wish.lines) == (customer, tuple(lines))
    assert decode_lines(encode_lines(wish.lines)) == wish.lines
    assert pricing.total(wish.lines) == sum(pricing.PRICES[x.sku] * x.quantity for x in lines)


@given(st.binary(max_size=200))
def test_garbage_is_refused_and_nothing_else_is_raised(garbage: bytes) -> None:
    """Any bytes are either an order or an OrderRefused."""
    with pytest.raises(OrderRefused):
        parse(garbage)


@pytest.mark.parametrize(
    ("bad", "part"),
    [
        (b"[" * 100_000, "at most"),
        (b"[" * MAX_BODY, "not JSON"),
        (b"3", "expected an object"),
        (body(lines=None), "lines is missing"),
        (body(lines=[]), "0 lines"),
        (body(lines=[{"sku": "winch", "quantity": 1}] * (MAX_LINES + 1)), "17 lines"),
        (body(lines=[{"sku": "winch", "quantity": 1}] * 2), "twice"),
        (body(lines=[{"sku": "winch", "quantity": 0}]), "quantity 0"),
        (body(lines=[{"sku": "winch", "quantity": True}]), "quantity True"),
        (body(lines=[{"sku": "winch", "quantity": 1.5}]), "quantity 1.5"),
        (body(lines=[{"sku": "winch"}]), "quantity None"),
        (body(lines=["winch"]), "a line is str"),
        (body(lines=[{"sku": "", "quantity": 1}]), "sku"),
        (body(customer=""), "customer"),
        (body(customer="a\nb"), "customer"),
        (body(customer=7), "customer"),
    ],
)
def test_a_bad_order_is_refused_with_its_reason(bad: bytes, part: str) -> None:
    """The message names what is wrong with the order."""
    with pytest.raises(OrderRefused, match=part):
        parse(bad)


def test_an_unknown_article_has_no_price() -> None:
    """The price list refuses what it does not know and says what it knows."""
    with pytest.raises(OrderRefused, match=r"'boat'.*anchor"):
        pricing.total([Line("boat", 1)])


@pytest.mark.parametrize("key", [None, "", "x" * 65, "a\x00b"])
def test_an_unusable_key_is_refused(key: str | None) -> None:
    """An order without a usable Idempotency-Key is not taken."""
    with pytest.raises(OrderRefused, match="Idempotency-Key"):
        check_key(key)


def test_the_fingerprint_tells_bodies_apart() -> None:
    """Equal bodies have equal fingerprints, others do not."""
    assert check_key("k-1") == "k-1"
    assert fingerprint(body()) == fingerprint(body())
    assert fingerprint(body()) != fingerprint(body(customer="bob"))
