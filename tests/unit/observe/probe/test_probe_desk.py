"""Orders of probes from whoever may act: strange ones are refused in a sentence, and nothing is set."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.observe.desk import Errand, Reply, Request
from backstay.observe.probe import Board, ProbeDesk

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)


@pytest.fixture
def board() -> Iterator[Board]:
    """Provide a board that is emptied afterwards."""
    found = Board()
    yield found
    found.close()


def order(desk: ProbeDesk, body: bytes, path: str = "/v1/probes") -> tuple[int, Any]:
    """Send a body, and carry out what it orders here."""
    found = desk.answer(Request(path, method="POST", body=body))
    if isinstance(found, Errand):
        found = found._make(lambda seconds: False)
    assert isinstance(found, Reply)
    return found.status, json.loads(found.body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[" * 60_000,
        b'{"at":' * 10_000,
        b'{"at":"a.py:3","hits":' + b"9" * 5000 + b"}",
        b'{"at":"a.py:3","seconds":NaN}',
        b'{"at":"a.py:3","rate":-Infinity}',
        b'{"at":"a.py:3","hits":1.5}',
        b'{"at":"a.py:3","hits":true}',
        b'{"at":"\\u0000.py:3"}',
        b'{"at":"\\ud800.py:3"}',
        b'{"at":"a.py:3","expressions":["((((((((((((((((((((((((((((((((1"]}',
        b'{"at":"a.py:3","expressions":["\\u0000"]}',
        b'{"at":"a.py:3","expressions":["' + b"-" * 50_000 + b'1"]}',
        b'{"at":"a.py:3","expressions":["' + b"(" * 50_000 + b'1"]}',
        b'{"at":"a.py:3","expressions":["a' + b".a" * 25_000 + b'"]}',
        b'{"at":"' + b"a/" * 30_000 + b'a.py:3"}',
        b'{"\\ud800":1}',
        b"\xff\xfe[\x00",
    ],
    ids=lambda body: repr(body[:40]),
)
def test_a_strange_order_is_refused(board: Board, body: bytes) -> None:
    """Deep, huge, of the wrong kind, or no text at all."""
    status, told = order(ProbeDesk(board), body)
    assert status == 400
    assert 10 < len(told["error"]) < 1000
    assert board.all() == []


@given(
    st.dictionaries(
        st.sampled_from(("at", "expressions", "hits", "seconds", "rate", "remove", "x")), values
    )
)
def test_no_order_is_an_error_of_ours(asked: dict[str, Any]) -> None:
    """Whatever the fields hold."""
    board = Board()
    for path in ("/v1/probes", "/v1/probes/1", "/v1/probes/x/y"):
        status, told = order(ProbeDesk(board), json.dumps(asked).encode(), path)
        assert status in (400, 404)
        assert told["error"]
    assert board.all() == []


def test_a_closed_desk_takes_no_orders(board: Board) -> None:
    """A probe that is set while the plane ends would stay for good."""
    desk = ProbeDesk(board)
    desk.close()
    body = json.dumps({"at": f"{__file__}:{order.__code__.co_firstlineno + 2}"}).encode()
    status, told = order(desk, body)
    assert (status, board.all()) == (400, [])
    assert "was closed" in told["error"]
