"""From what the peers answered to the next state of the order: the heart of the saga."""

from __future__ import annotations

from enum import StrEnum

from shop.business.states import State


class Stock(StrEnum):
    """What is known about the goods."""

    HELD = "HELD"
    SOLD_OUT = "SOLD_OUT"
    UNKNOWN = "UNKNOWN"  # no answer in time: they may or may not be held


class Money(StrEnum):
    """What is known about the payment."""

    SETTLED = "SETTLED"
    DECLINED = "DECLINED"
    NOT_ASKED = "NOT_ASKED"  # refused before anything left for the bank
    UNKNOWN = "UNKNOWN"  # asked, no answer: the debit may or may not exist


def decide(stock: Stock, money: Money) -> State:
    """Choose the state that follows from both answers.

    The rule behind it: never lose money that may have moved, never promise goods that may
    not be held. Whatever is unknown stays in a state that the resolver works off.

    Args:
        stock: what inventory said.
        money: what payment said.

    Returns:
        The next state; NEW means that the stock is still unknown.
    """
    if stock is Stock.SOLD_OUT:
        return State.REJECTED if money in (Money.DECLINED, Money.NOT_ASKED) else State.REFUNDING
    if money is Money.DECLINED:
        return State.REJECTED
    if stock is Stock.UNKNOWN:
        return State.NEW
    if money is Money.SETTLED:
        return State.PAID
    return State.RESERVED if money is Money.NOT_ASKED else State.PAYING


def must_release(stock: Stock, state: State) -> bool:
    """Say whether the goods must be given back.

    Args:
        stock: what inventory said; UNKNOWN counts as held, since releasing twice is harmless.
        state: where the order goes.

    Returns:
        True when the order goes nowhere and stock may be held for it.
    """
    return (
        state in (State.REJECTED, State.CANCELLED, State.REFUNDING) and stock is not Stock.SOLD_OUT
    )


def status_of(state: State) -> int:
    """Translate the state after a create into an HTTP status.

    Args:
        state: the state just written.

    Returns:
        201 paid, 202 accepted and pending, 409 not possible (sold out, declined, going back).
    """
    if state in (State.PAID, State.SHIPPING, State.DONE):
        return 201
    return 202 if state in (State.NEW, State.RESERVED, State.PAYING) else 409
