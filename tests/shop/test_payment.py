"""The payment adapter: how the bank's answers are read, and how its slowness is contained."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp
import pytest
from inline_store import InlineStore, as_store
from shop.business.schema import PAYMENT
from shop.contracts.payment_pb2 import ChargeRequest, OrderId, PaymentReply
from shop.payment import governed, naive
from shop.payment.bank import Bank, BankState, BankTrouble, Statement
from shop.payment.till import Till

from backstay import Scope, now


class FakeReply:
    """What an HTTP session gives."""

    def __init__(self, status: int, raw: bytes) -> None:
        self.status = status
        self.raw = raw

    async def read(self) -> bytes:
        return self.raw

    async def __aenter__(self) -> FakeReply:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None


class FakeSession:
    """Answers every request the same, or fails."""

    def __init__(self, answer: FakeReply | Exception) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str]] = []

    def request(self, method: str, url: str, **_: object) -> FakeReply:
        self.asked.append((method, url))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def bank_that(answer: FakeReply | Exception) -> tuple[Bank, FakeSession]:
    """A bank behind a session with one answer."""
    session = FakeSession(answer)
    return Bank(cast("aiohttp.ClientSession", session), "http://bank"), session


def says(state: str) -> bytes:
    """The bank's document."""
    return json.dumps({"id": "a", "ref": "b7", "state": state}).encode()


@pytest.mark.parametrize(
    ("status", "raw", "state"),
    [
        (200, says("settled"), BankState.SETTLED),
        (402, says("declined"), BankState.DECLINED),
        (409, says("voided"), BankState.DECLINED),
    ],
)
async def test_a_debits_answer_is_read(status: int, raw: bytes, state: BankState) -> None:
    """Settled, declined, and declined because it was voided before."""
    bank, session = bank_that(FakeReply(status, raw))
    assert (await bank.debit("a", 100)).state is state
    assert session.asked == [("POST", "http://bank/debits")]


async def test_a_query_and_a_refund_are_read() -> None:
    """Not found is an answer too."""
    assert (await bank_that(FakeReply(404, b"{}"))[0].find("a")).state is BankState.NOT_FOUND
    found = await bank_that(FakeReply(200, says("refunded")))[0].find("a")
    assert found == Statement(BankState.REFUNDED, "b7")
    bank, session = bank_that(FakeReply(200, says("voided")))
    assert (await bank.refund("a")).state is BankState.VOIDED
    assert session.asked == [("POST", "http://bank/debits/a/refund")]


@pytest.mark.parametrize(
    "answer",
    [
        FakeReply(503, says("settled")),
        FakeReply(200, b"<html>"),
        FakeReply(200, b"[]"),
        FakeReply(200, says("perhaps")),
        FakeReply(422, b'{"error": "no"}'),
        aiohttp.ServerDisconnectedError(),
        OSError("refused"),
    ],
)
async def test_anything_else_is_trouble_and_not_an_answer(answer: FakeReply | Exception) -> None:
    """An unusable reply never counts as settled or declined."""
    with pytest.raises(BankTrouble):
        await bank_that(answer)[0].debit("a", 100)


class SlowBank:
    """A bank made of timers, with books of its own."""

    def __init__(self) -> None:
        self.delay_s = 0.03
        self.trouble = False
        self.books: dict[str, BankState] = {}
        self.calls = 0

    async def _answer(self) -> None:
        self.calls += 1
        await asyncio.sleep(self.delay_s)
        if self.trouble:
            raise BankTrouble("503")

    async def debit(self, order_id: str, amount: int) -> Statement:
        await self._answer()
        if self.books.get(order_id) is BankState.VOIDED:
            return Statement(BankState.DECLINED)
        self.books.setdefault(order_id, BankState.SETTLED)
        return Statement(self.books[order_id], "b1")

    async def find(self, order_id: str) -> Statement:
        await self._answer()
        return Statement(self.books.get(order_id, BankState.NOT_FOUND))

    async def refund(self, order_id: str) -> Statement:
        await self._answer()
        settled = self.books.get(order_id) is BankState.SETTLED
        self.books[order_id] = BankState.REFUNDED if settled else BankState.VOIDED
        return Statement(self.books[order_id])


class Caller:
    """A gRPC context: how long the caller will wait."""

    def __init__(self, seconds: float | None) -> None:
        self._until = None if seconds is None else now() + seconds

    def time_remaining(self) -> float | None:
        return None if self._until is None else self._until - now()


class Desk:
    """The governed adapter between a till in memory and a slow bank."""

    def __init__(self, store: InlineStore) -> None:
        self.bank = SlowBank()
        self.till = Till(as_store(store))
        self.face: governed.PaymentServicer

    @asynccontextmanager
    async def open(self, places: int = 2) -> AsyncIterator[Desk]:
        async with (
            Scope("charges", max_tasks=places) as charges,
            Scope("inquiries", max_tasks=2) as inquiries,
        ):
            bank = cast("Bank", self.bank)
            self.face = governed.PaymentServicer(self.till, bank, charges, inquiries)
            yield self

    async def charge(self, order_id: str, seconds: float | None = 0.1) -> Any:
        ask = ChargeRequest(order_id=order_id, amount=100)
        return (await self.face.Charge(ask, Caller(seconds))).outcome

    async def query(self, order_id: str, seconds: float | None = 1.0) -> Any:
        return (await self.face.Query(OrderId(order_id=order_id), Caller(seconds))).outcome

    async def refund(self, order_id: str, seconds: float | None = 1.0) -> Any:
        return (await self.face.Refund(OrderId(order_id=order_id), Caller(seconds))).outcome


@pytest.fixture
def desk() -> Iterator[Desk]:
    """A fresh desk."""
    store = InlineStore(PAYMENT)
    yield Desk(store)
    store.close()


async def test_a_settled_charge_is_remembered(desk: Desk) -> None:
    """The bank is asked once per order."""
    async with desk.open():
        assert await desk.charge("a") == PaymentReply.SETTLED
        assert await desk.charge("a", None) == PaymentReply.SETTLED
        assert await desk.query("a") == PaymentReply.SETTLED
    assert desk.bank.calls == 1


async def test_a_slow_bank_makes_a_charge_pending_and_is_not_cut_off(desk: Desk) -> None:
    """The caller hears PENDING within its deadline; the debit goes on and is noted."""
    desk.bank.delay_s = 3.5
    async with desk.open():
        began = now()
        assert await desk.charge("a", 0.1) == PaymentReply.PENDING
        assert now() - began < 0.1
        assert await desk.query("a", 0.1) == PaymentReply.PENDING  # joins the debit under way
        assert await desk.refund("a") == PaymentReply.PENDING  # first learn what to refund
        await asyncio.sleep(4.0)
        assert await desk.charge("a") == PaymentReply.SETTLED
    assert desk.bank.calls == 1


async def test_charges_beyond_the_limit_are_refused_at_once(desk: Desk) -> None:
    """The bulkhead: so many at the bank, and the others hear it in no time."""
    desk.bank.delay_s = 3.5
    async with desk.open(places=2):
        began = now()
        outcomes = await asyncio.gather(*(desk.charge(f"o{n}") for n in range(5)))
        assert sorted(outcomes) == [PaymentReply.PENDING] * 2 + [PaymentReply.REFUSED] * 3
        refused = now()
        assert await desk.charge("late") == PaymentReply.REFUSED
        assert now() == refused
        assert now() - began < 0.1
        await asyncio.sleep(4.0)
        desk.bank.delay_s = 0.03
        assert await desk.charge("late") == PaymentReply.SETTLED


async def test_trouble_at_the_bank_is_pending_and_not_declined(desk: Desk) -> None:
    """An error status says nothing about the money, nor does silence beyond our patience."""
    desk.bank.trouble = True
    async with desk.open():
        assert await desk.charge("a") == PaymentReply.PENDING
        desk.bank.trouble, desk.bank.delay_s = False, 3600.0
        began = now()
        assert await desk.charge("b", None) == PaymentReply.PENDING
        assert now() - began == pytest.approx(governed.BANK_PATIENCE_S)
        desk.bank.delay_s = 0.03
        assert await desk.query("a") == PaymentReply.NOT_FOUND
        assert await desk.query("a") == PaymentReply.NOT_FOUND  # not kept: it may come yet
    assert await desk.till.known("a") is None


async def test_a_query_finds_what_the_adapter_never_heard(desk: Desk) -> None:
    """The bank committed and its reply was lost: the query brings it to light and keeps it."""
    desk.bank.books["a"] = BankState.SETTLED
    async with desk.open():
        assert await desk.query("a") == PaymentReply.SETTLED
    assert await desk.till.known("a") is BankState.SETTLED


async def test_queries_beyond_their_limit_are_pending(desk: Desk) -> None:
    """Queries have places of their own, and no more than these."""
    desk.bank.delay_s = 3.5
    async with desk.open():
        outcomes = await asyncio.gather(*(desk.query(f"o{n}", 0.1) for n in range(4)))
        assert outcomes == [PaymentReply.PENDING] * 4
        assert desk.bank.calls == 2


async def test_a_refund_gives_money_back_once(desk: Desk) -> None:
    """Settled, refunded, and refunded still."""
    async with desk.open():
        await desk.charge("a")
        assert await desk.refund("a") == PaymentReply.REFUNDED
        assert await desk.refund("a") == PaymentReply.REFUNDED
        assert await desk.charge("a") == PaymentReply.REFUNDED
    assert desk.bank.books == {"a": BankState.REFUNDED}


async def test_a_refund_forbids_a_debit_that_never_came(desk: Desk) -> None:
    """Refunding an unknown payment voids it at the bank, so no later debit can land."""
    async with desk.open():
        assert await desk.refund("a") == PaymentReply.REFUNDED
        assert await desk.charge("a") == PaymentReply.REFUNDED
    assert desk.bank.books == {"a": BankState.VOIDED}


async def test_the_naive_adapter_gives_the_same_answers_and_waits(desk: Desk) -> None:
    """Same business, no limit and no end."""
    face = naive.PaymentServicer(desk.till, cast("Bank", desk.bank))
    desk.bank.delay_s = 3.5
    began = now()
    asks = [ChargeRequest(order_id=f"o{n}", amount=100) for n in range(50)]
    replies = await asyncio.gather(*(face.Charge(ask, Caller(0.1)) for ask in asks))
    assert {reply.outcome for reply in replies} == {PaymentReply.SETTLED}
    assert now() - began == pytest.approx(3.5)
    assert (await face.Query(OrderId(order_id="o1"), None)).outcome == PaymentReply.SETTLED
    assert (await face.Query(OrderId(order_id="x"), None)).outcome == PaymentReply.NOT_FOUND
    assert (await face.Refund(OrderId(order_id="o1"), None)).outcome == PaymentReply.REFUNDED
