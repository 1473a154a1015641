"""Requests as bytes: framing, trace ids and what may not be sent."""

from __future__ import annotations

import re

import pytest

from backstay.errors import UsageError
from backstay.lab.load import Request
from backstay.lab.load._encode import Encoder


def test_a_request_with_body_is_framed() -> None:
    """Request line, host, trace, own headers, length, blank line, body: in this order."""
    request = Request("POST", "/orders", (("X-Key", "7"),), b"{}")
    text = Encoder("127.0.0.1", 8000, seed=1).encode(request).decode()
    assert re.fullmatch(
        r"POST /orders HTTP/1\.1\r\nHost: 127\.0\.0\.1:8000\r\n"
        r"traceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-01\r\n"
        r"X-Key: 7\r\nContent-Length: 2\r\n\r\n\{\}",
        text,
    )


def test_a_get_has_no_length_and_an_empty_post_has_zero() -> None:
    """Servers wait for a body that is neither announced nor denied."""
    encoder = Encoder("h", 80, seed=1)
    assert b"Content-Length" not in encoder.encode(Request())
    assert b"Content-Length: 0\r\n" in encoder.encode(Request("POST"))


def test_trace_ids_repeat_with_the_seed_and_differ_within_a_run() -> None:
    """A trace of one variant has its twin in the other."""
    one, two = Encoder("h", 80, seed=5), Encoder("h", 80, seed=5)
    first = [one.encode(Request()) for _ in range(50)]
    assert first == [two.encode(Request()) for _ in range(50)]
    assert len(set(first)) == 50
    assert Encoder("h", 80, seed=6).encode(Request()) != first[0]


def test_an_ipv6_host_is_bracketed() -> None:
    """The host line follows RFC 3986."""
    assert b"Host: [::1]:80\r\n" in Encoder("::1", 80, seed=1).encode(Request())


@pytest.mark.parametrize(
    "request_",
    [
        Request(path="/a b"),
        Request(path="/a\r\nX: y"),
        Request(method="GET\n"),
        Request(headers=(("a", "b\r\nc: d"),)),
        Request(path="/\u20ac"),
    ],
)
def test_what_would_break_the_framing_is_refused(request_: Request) -> None:
    """No workload can smuggle a second header or request."""
    with pytest.raises(UsageError, match="cannot send"):
        Encoder("h", 80, seed=1).encode(request_)
