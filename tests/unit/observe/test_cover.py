"""What looks like a secret is struck out of every text that leaves by the admin plane."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.observe.desk import cover_text

SECRET = "hunter2correct"


@pytest.mark.parametrize(
    "text",
    [
        f"poll https://shop:{SECRET}@bank.example/v1",
        f"GET /pay?token={SECRET}&id=3",
        f"password={SECRET}",
        f"Password: {SECRET}",
        f"db_password = {SECRET}",
        f"api-key={SECRET}; user=shop",
        f"{{'api_key': '{SECRET}', 'user': 'shop'}}",
        f'{{"client_secret": "{SECRET}"}}',
        f"Authorization: Bearer {SECRET}",
        f"basic {SECRET}==",
        f"session_id={SECRET}",
    ],
)
def test_a_secret_is_struck_out_in_a_name(text: str) -> None:
    """In plain text, and where the same text is a string of JSON; what stands around it stays."""
    if not text.startswith('{"'):  # a member of a document: its name is one of ours
        assert SECRET.encode() not in cover_text(text.encode())
    document = json.loads(cover_text(json.dumps({"name": text, "count": 3}).encode()))
    assert SECRET not in document["name"]
    assert document["name"][:3] == text[:3]
    assert document["count"] == 3


@pytest.mark.parametrize(
    "text",
    [
        "refresh_token() at app/token.py:12",
        "https://bank.example/v1?order=3",
        "basic checks",
        "Task-12",
        "a user@example.org",
    ],
)
def test_what_is_none_stays(text: str) -> None:
    """Names of functions and files are what a dump is read for."""
    assert cover_text(text.encode()) == text.encode()


texts = st.text("abc:=@/\"'\\ \n\u20ac", max_size=12) | st.sampled_from(
    ["token=", "password", "://", "@", "Bearer abcdefghijk", "secret: x", "\\", 'token="a"']
)
documents: Any = st.recursive(
    st.none() | st.integers() | st.lists(texts, max_size=4).map("".join),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(documents)
def test_a_document_stays_one(document: Any) -> None:
    """Whatever is struck out, it is JSON of the same shape afterwards."""
    assert shape(json.loads(cover_text(json.dumps(document).encode()))) == shape(document)


def shape(value: Any) -> Any:
    """Return a value without its texts."""
    if isinstance(value, dict):
        return [shape(one) for one in value.values()]
    if isinstance(value, list):
        return [shape(one) for one in value]
    return "" if isinstance(value, str) else value


def test_a_long_document_is_looked_through_whole() -> None:
    """It is taken in pieces, and no secret hides where two of them meet."""
    names = [f"password={SECRET}{number}" for number in range(20_000)]
    body = cover_text(json.dumps(names).encode())
    assert SECRET.encode() not in body
    assert len(json.loads(body)) == len(names)
