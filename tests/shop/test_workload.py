"""The workload: deterministic, the right mix, bounded, and a fair judge."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shop.business.orders import parse
from shop.business.pricing import total
from shop.workload import CANCELS, CREATES, REMEMBERED, Checkout

from backstay.lab.load import Request


def play(seed: int, count: int, prefix: str = "o") -> list[Request]:
    """Run a workload against a shop that accepts everything at once."""
    workload, requests = Checkout(seed, {}), list[Request]()
    for number in range(count):
        request = workload.next()
        requests.append(request)
        body = json.dumps({"id": f"{prefix}{number}", "state": "PAID"}).encode()
        status = {"create": 201, "read": 200, "cancel": 202}[request.kind]
        assert workload.observe(request, status, body)
    return requests


def test_one_seed_is_one_workload() -> None:
    """The same seed and replies give the same requests, another seed gives others."""
    assert play(3, 500) == play(3, 500)
    assert play(3, 500) != play(4, 500)


def test_the_shop_under_test_changes_ids_and_nothing_else() -> None:
    """Two shops that name their orders differently are asked the same kinds in the same order."""
    ours, theirs = play(3, 500, "a"), play(3, 500, "b")
    assert [each.kind for each in ours] == [each.kind for each in theirs]
    assert [each.body for each in ours] == [each.body for each in theirs]


def test_the_mix_is_as_promised() -> None:
    """A quarter creates, a twentieth cancels, the rest reads."""
    kinds = Counter(each.kind for each in play(5, 20_000))
    assert kinds["create"] / 20_000 == pytest.approx(CREATES, abs=0.015)
    assert kinds["cancel"] / 20_000 == pytest.approx(CANCELS, abs=0.01)


@settings(max_examples=20)
@given(st.integers(0, 2**63 - 1))
def test_every_create_is_a_good_order_with_its_own_key(seed: int) -> None:
    """Each create can be parsed and priced, and no key is used twice."""
    creates = [each for each in play(seed, 300) if each.kind == "create"]
    for each in creates:
        assert each.body is not None
        assert total(parse(each.body).lines) > 0
        assert not each.unaffected
    keys = [dict(each.headers)["idempotency-key"] for each in creates]
    assert len(set(keys)) == len(keys)


def test_reads_and_cancels_name_orders_that_exist() -> None:
    """Only accepted orders are read, and only reads count as unaffected."""
    workload, known = Checkout(7, {}), set[str]()
    for number in range(5_000):
        request = workload.next()
        assert request.unaffected == (request.kind == "read")
        if request.kind == "create":
            order_id = f"o{number}"
            if number % 3:
                known.add(order_id)
                assert workload.observe(request, 202, json.dumps({"id": order_id}).encode())
            else:
                assert not workload.observe(request, 503, b"busy")
        else:
            assert request.path.split("/")[2] in known
    assert len(workload._ids) == REMEMBERED


def test_the_ring_keeps_the_newest_orders() -> None:
    """Old ids make room, and cancels go to recent ones."""
    workload = Checkout(7, {})
    create = workload.next()
    for number in range(REMEMBERED + 10):
        workload.observe(create, 201, json.dumps({"id": f"o{number}"}).encode())
    newest = {f"o{number}" for number in range(10, REMEMBERED + 10)}
    assert set(workload._ids) == newest
    assert workload._recent(0.0) == f"o{REMEMBERED + 9}"


@pytest.mark.parametrize(
    ("kind", "good"), [("create", {201, 202}), ("read", {200}), ("cancel", {200, 202, 409})]
)
def test_only_what_helps_the_customer_is_a_success(kind: str, good: set[int]) -> None:
    """The judge knows each kind's good statuses, and no reply is never good."""
    workload = Checkout(1, {})
    request = Request(kind=kind)
    statuses = [None, 200, 201, 202, 400, 404, 409, 422, 500, 503]
    seen = {each for each in statuses if workload.observe(request, each, b'{"id": "a"}')}
    assert seen == good


@pytest.mark.parametrize("body", [b"", b"no", b"[]", b"{}", b'{"id": 7}'])
def test_an_order_without_an_id_was_not_accepted(body: bytes) -> None:
    """A 201 that names no order is no success."""
    workload = Checkout(1, {})
    assert not workload.observe(workload.next(), 201, body)


@pytest.mark.parametrize(
    "options",
    [{"creates": 2}, {"cancels": "x"}, {"creates": True}, {"creates": 0.9, "cancels": 0.9}],
)
def test_impossible_shares_are_refused(options: dict[str, object]) -> None:
    """A share is a number from 0 to 1, and all of them fit into one."""
    with pytest.raises(ValueError, match="expected"):
        Checkout(1, options)
