"""The life of an order, as a table of allowed moves.

Why a table: every write of a state goes through `may_move` (or through SQL generated from
`sources`), so an order that two processes touch at once can only take one of the legal roads.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where an order is; the values are what the database and the API show."""

    NEW = "NEW"  # accepted and durable, the stock answer is not known yet
    RESERVED = "RESERVED"  # stock is held, the bank has not been asked
    PAYING = "PAYING"  # the bank was asked, its answer is not known
    PAID = "PAID"
    SHIPPING = "SHIPPING"  # handed to fulfilment: the point of no return
    DONE = "DONE"
    REJECTED = "REJECTED"  # sold out or declined, no money moved
    CANCELLED = "CANCELLED"  # by the customer, before any money moved
    REFUNDING = "REFUNDING"  # money moved or may have moved, and must come back
    REFUNDED = "REFUNDED"
    NEEDS_HUMAN = "NEEDS_HUMAN"


MOVES: dict[State, frozenset[State]] = {
    State.NEW: frozenset(
        {State.RESERVED, State.PAYING, State.PAID, State.REJECTED, State.REFUNDING}
    ),
    State.RESERVED: frozenset(
        {State.PAYING, State.PAID, State.REJECTED, State.CANCELLED, State.REFUNDING}
    ),
    State.PAYING: frozenset({State.PAID, State.REJECTED, State.REFUNDING}),
    State.PAID: frozenset({State.SHIPPING, State.REFUNDING}),
    State.SHIPPING: frozenset({State.DONE, State.NEEDS_HUMAN}),
    State.REFUNDING: frozenset({State.REFUNDED, State.NEEDS_HUMAN}),
    State.DONE: frozenset(),
    State.REJECTED: frozenset(),
    State.CANCELLED: frozenset(),
    State.REFUNDED: frozenset(),
    State.NEEDS_HUMAN: frozenset(),
}

OPEN = frozenset({State.NEW, State.RESERVED, State.PAYING, State.REFUNDING})
"""States that somebody has to move on: the resolver's work list."""

MONEY_MAY_BE_HELD = frozenset(
    {
        State.NEW,
        State.PAYING,
        State.PAID,
        State.SHIPPING,
        State.DONE,
        State.REFUNDING,
        State.NEEDS_HUMAN,
    }
)
"""States in which a debit that was not given back is legitimate."""


def may_move(source: State, target: State) -> bool:
    """Say whether an order may go from `source` to `target` in one step.

    Args:
        source: the state it is in.
        target: the state wanted.

    Returns:
        True when the table allows it; staying where it is is not a move.
    """
    return target in MOVES[source]


def sources(target: State) -> tuple[State, ...]:
    """List the states from which `target` can be reached in one step.

    Args:
        target: the state wanted.

    Returns:
        The states, in the order of `State`; used to build `WHERE state IN (...)`.
    """
    return tuple(source for source in State if target in MOVES[source])
