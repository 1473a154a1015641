"""The order book: every change of an order, each one transaction in the order service's file.

A change of state, the outbox row that announces it and the reply kept for a repeated request
are written together or not at all. Both variants use this book unchanged.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from shop.business import pricing
from shop.business.orders import Line, Wish, decode_lines, encode_lines
from shop.business.outcome import Money, Stock, decide, must_release, status_of
from shop.business.states import OPEN, State, may_move
from shop.storage import Store

LEASE_S = 5.0  # a create that did not finish in this time is taken over by the resolver
_COLUMNS = "id, customer, lines, amount, state, attempts"
NOTIFY_AFTER_S = 3.0  # the first attempt is made at once; the retry must not meet it


@dataclass(frozen=True, slots=True)
class Order:
    """An accepted order."""

    id: str
    customer: str
    lines: tuple[Line, ...]
    amount: int  # cents
    state: State
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """What the HTTP edge answers: status and JSON."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Letter:
    """One outbox row."""

    n: int
    order_id: str
    payload: str
    attempts: int


def new_id() -> str:
    """Make an order id that sorts by time, so that inserts stay at the end of the tree.

    Returns:
        24 hexadecimal digits.
    """
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(6)}"


def describe(order_id: str, state: State, amount: int) -> bytes:
    """Write an order for its customer.

    Args:
        order_id: the id.
        state: where it is.
        amount: cents.

    Returns:
        JSON.
    """
    return json.dumps({"id": order_id, "state": state, "amount": amount}).encode()


def refuse(status: int, reason: str, message: str) -> Reply:
    """Write a refusal for the customer.

    Args:
        status: the HTTP status.
        reason: one word for programs.
        message: one sentence for people.

    Returns:
        The reply.
    """
    return Reply(status, json.dumps({"error": reason, "message": message}).encode())


class Book:
    """The orders of one order service.

    Args:
        store: its started SQLite file with `schema.ORDER`.
        clock: unix seconds; tests pass their own.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    async def place(self, wish: Wish, key: str, digest: str) -> Order | Reply:
        """Accept an order once per (customer, key).

        Args:
            wish: the checked order.
            key: the Idempotency-Key.
            digest: the fingerprint of the request's body.

        Returns:
            The new order in state NEW; or the reply to give instead: the one given before,
            422 for another body under the same key, 409 while the first request is under way.

        Raises:
            OrderRefused: an article is not on the price list.
        """
        order = Order(new_id(), wish.customer, wish.lines, pricing.total(wish.lines), State.NEW)
        now = self._clock()
        return await self._store.write(lambda db: _place(db, order, key, digest, now))

    async def settle(
        self, order: Order, key: str | None, stock: Stock, money: Money, *, announce: bool = True
    ) -> tuple[Reply, int | None]:
        """Write what the peers answered: the next state, its outbox rows and the kept reply.

        Args:
            order: as last read; when somebody else moved it meanwhile, nothing is changed.
            key: the Idempotency-Key of the request that waits for the reply, None in the resolver.
            stock: what inventory said.
            money: what payment said.
            announce: also put the customer's notification of a paid order into the outbox.

        Returns:
            The reply for the customer, and the number of the notification's outbox row.
        """
        now = self._clock()
        return await self._store.write(
            lambda db: _settle(db, order, key, stock, money, announce, now)
        )

    async def read(self, order_id: str) -> Reply:
        """Answer GET /orders/{id}.

        Args:
            order_id: the id.

        Returns:
            200 with the order, or 404.
        """
        row = await self._store.read(
            lambda db: db.execute(
                "SELECT state, amount FROM orders WHERE id = ?", (order_id,)
            ).fetchone()
        )
        if row is None:
            return refuse(404, "unknown", f"no order {order_id[:64]!r}")
        return Reply(200, describe(order_id, State(row[0]), row[1]))

    async def find(self, order_id: str) -> Order | None:
        """Load an order for working on it.

        Args:
            order_id: the id.

        Returns:
            The order, or None.
        """
        return await self._store.read(lambda db: _find(db, order_id))

    async def cancel(self, order_id: str) -> Reply:
        """Answer POST /orders/{id}/cancel, as far as this service can do it alone.

        Args:
            order_id: the id.

        Returns:
            200 cancelled or already so; 202 the money is on its way back (state REFUNDING:
            the refund itself is still to be made); 409 too late or too early; 404 unknown.
        """
        now = self._clock()
        return await self._store.write(lambda db: _cancel(db, order_id, now))

    async def due(self, limit: int) -> list[Order]:
        """List the open orders whose time has come, oldest first.

        Args:
            limit: how many at most.

        Returns:
            Orders in NEW, RESERVED, PAYING or REFUNDING that wait for the resolver.
        """
        now = self._clock()
        return await self._store.read(lambda db: _due(db, now, limit))

    async def move(self, order: Order, target: State) -> bool:
        """Move an order on, unless somebody else moved it meanwhile.

        Args:
            order: as last read.
            target: the state wanted; must be a legal move.

        Returns:
            True when this call moved it.
        """
        if not may_move(order.state, target):
            raise ValueError(
                f"order {order.id} cannot go from {order.state} to {target}: see business/states.py"
            )
        return await self._store.write(lambda db: _swap(db, order.id, order.state, target))

    async def postpone(self, order: Order, seconds: float) -> None:
        """Look at an open order again later.

        Args:
            order: the order.
            seconds: how much later.
        """
        at = self._clock() + seconds
        await self._store.write(
            lambda db: (
                db.execute(
                    "UPDATE orders SET next_at = ?, attempts = attempts + 1 WHERE id = ?",
                    (at, order.id),
                ).rowcount
            )
        )

    async def hand_over(self, limit: int) -> list[Letter]:
        """Claim paid orders for shipping; from here on they cannot be cancelled.

        Args:
            limit: how many at most.

        Returns:
            Their outbox rows; they stay until `delivered`, so that a crash repeats them.
        """
        return await self._store.write(lambda db: _hand_over(db, limit))

    async def letters(self, topic: str, limit: int) -> list[Letter]:
        """List outbox rows that are due.

        Args:
            topic: "release" or "notify".
            limit: how many at most.

        Returns:
            The rows, longest due first.
        """
        now = self._clock()
        return await self._store.read(lambda db: _letters(db, topic, now, limit))

    async def delivered(self, numbers: Sequence[int]) -> None:
        """Forget outbox rows that arrived.

        Args:
            numbers: the rows' numbers.
        """
        await self._store.write(lambda db: _forget(db, numbers))

    async def failed(self, letters: Sequence[Letter], ceiling_s: float) -> None:
        """Try outbox rows again later, each time after a longer pause.

        Args:
            letters: the rows.
            ceiling_s: the longest pause.
        """
        now = self._clock()
        rows = [(now + min(ceiling_s, 2.0**letter.attempts), letter.n) for letter in letters]
        await self._store.write(
            lambda db: (
                db.executemany(
                    "UPDATE outbox SET attempts = attempts + 1, next_at = ? WHERE n = ?", rows
                ).rowcount
            )
        )

    async def finish(self, order_ids: Iterable[str], target: State) -> None:
        """Close orders that fulfilment reported.

        Args:
            order_ids: orders in SHIPPING; others are left alone.
            target: DONE, or NEEDS_HUMAN when the goods could not be found.
        """
        ids = list(order_ids)
        await self._store.write(
            lambda db: [_swap(db, each, State.SHIPPING, target) for each in ids]
        )


def _place(
    db: sqlite3.Connection, order: Order, key: str, digest: str, now: float
) -> Order | Reply:
    row = db.execute(
        "SELECT hash, order_id, status, reply, lease_until FROM idempotency WHERE customer = ? AND key = ?",
        (order.customer, key),
    ).fetchone()
    if row is not None:
        seen, order_id, status, reply, lease_until = row
        if seen != digest:
            return refuse(
                422,
                "key_reused",
                "this Idempotency-Key was used with another body: send a fresh one",
            )
        if status is not None:
            return Reply(status, bytes(reply))
        if lease_until > now:
            return refuse(
                409,
                "in_progress",
                "the first request with this Idempotency-Key is under way: ask again",
            )
        # The first request died with its process. The order is kept and the resolver finishes it.
        state, amount = db.execute(
            "SELECT state, amount FROM orders WHERE id = ?", (order_id,)
        ).fetchone()
        return Reply(status_of(State(state)), describe(order_id, State(state), amount))
    db.execute(
        "INSERT INTO orders (id, customer, lines, amount, state, next_at, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            order.id,
            order.customer,
            encode_lines(order.lines),
            order.amount,
            State.NEW,
            now + LEASE_S,
            now,
        ),
    )
    db.execute(
        "INSERT INTO idempotency (customer, key, hash, order_id, lease_until) VALUES (?, ?, ?, ?, ?)",
        (order.customer, key, digest, order.id, now + LEASE_S),
    )
    return order


def _settle(
    db: sqlite3.Connection,
    order: Order,
    key: str | None,
    stock: Stock,
    money: Money,
    announce: bool,
    now: float,
) -> tuple[Reply, int | None]:
    target = decide(stock, money)
    notice: int | None = None
    # An open state is looked at again by the resolver, after a pause that keeps off a tight loop.
    next_at = now + 1.0 if target in OPEN else 0.0
    changed = may_move(order.state, target) and _swap(db, order.id, order.state, target, next_at)
    if changed:
        if target is State.PAID:
            _post(db, "paid", order.id, encode_lines(order.lines), now)
            if announce:
                notice = _post(db, "notify", order.id, "paid", now + NOTIFY_AFTER_S)
        if must_release(stock, target):
            _post(db, "release", order.id, "", now)
    state, amount = db.execute(
        "SELECT state, amount FROM orders WHERE id = ?", (order.id,)
    ).fetchone()
    reply = Reply(status_of(State(state)), describe(order.id, State(state), amount))
    if key is not None:
        db.execute(
            "UPDATE idempotency SET status = ?, reply = ? WHERE customer = ? AND key = ?",
            (reply.status, reply.body, order.customer, key),
        )
    return reply, notice


def _cancel(db: sqlite3.Connection, order_id: str, now: float) -> Reply:
    row = db.execute("SELECT state, amount FROM orders WHERE id = ?", (order_id,)).fetchone()
    if row is None:
        return refuse(404, "unknown", f"no order {order_id[:64]!r}")
    state, amount = State(row[0]), int(row[1])
    if state in (State.CANCELLED, State.REFUNDED, State.REFUNDING):
        return Reply(202 if state is State.REFUNDING else 200, describe(order_id, state, amount))
    if state is State.RESERVED:
        target, status = State.CANCELLED, 200
    elif state in (State.PAYING, State.PAID):
        target, status = State.REFUNDING, 202
    else:
        return refuse(409, "too_late", f"the order is {state}: it cannot be cancelled any more")
    _swap(db, order_id, state, target, now)
    # Still unclaimed, so nobody ships it; the customer need not hear that it was paid.
    db.execute("DELETE FROM outbox WHERE order_id = ? AND topic IN ('paid', 'notify')", (order_id,))
    _post(db, "release", order_id, "", now)
    return Reply(status, describe(order_id, target, amount))


def _hand_over(db: sqlite3.Connection, limit: int) -> list[Letter]:
    letters = _letters(db, "paid", float("inf"), limit)
    db.executemany(
        "UPDATE orders SET state = 'SHIPPING' WHERE id = ? AND state = 'PAID'",
        [(letter.order_id,) for letter in letters],
    )
    return letters


def _letters(db: sqlite3.Connection, topic: str, now: float, limit: int) -> list[Letter]:
    rows = db.execute(
        "SELECT n, order_id, payload, attempts FROM outbox WHERE topic = ? AND next_at <= ? ORDER BY next_at LIMIT ?",
        (topic, now, limit),
    )
    return [Letter(*row) for row in rows]


def _find(db: sqlite3.Connection, order_id: str) -> Order | None:
    row = db.execute(f"SELECT {_COLUMNS} FROM orders WHERE id = ?", (order_id,)).fetchone()
    return None if row is None else _order(row)


def _due(db: sqlite3.Connection, now: float, limit: int) -> list[Order]:
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM orders "
        "WHERE state IN ('NEW', 'RESERVED', 'PAYING', 'REFUNDING') AND next_at <= ? ORDER BY next_at LIMIT ?",
        (now, limit),
    )
    return [_order(row) for row in rows]


def _order(row: tuple[str, str, str, int, str, int]) -> Order:
    order_id, customer, lines, amount, state, attempts = row
    return Order(order_id, customer, decode_lines(lines), amount, State(state), attempts)


def _swap(
    db: sqlite3.Connection, order_id: str, source: State, target: State, next_at: float = 0.0
) -> bool:
    changed = db.execute(
        "UPDATE orders SET state = ?, attempts = 0, next_at = ? WHERE id = ? AND state = ?",
        (target, next_at, order_id, source),
    ).rowcount
    return changed == 1


def _post(db: sqlite3.Connection, topic: str, order_id: str, payload: str, at: float) -> int | None:
    return db.execute(
        "INSERT INTO outbox (topic, order_id, payload, next_at) VALUES (?, ?, ?, ?)",
        (topic, order_id, payload, at),
    ).lastrowid


def _forget(db: sqlite3.Connection, numbers: Sequence[int]) -> None:
    db.executemany("DELETE FROM outbox WHERE n = ?", [(n,) for n in numbers])
