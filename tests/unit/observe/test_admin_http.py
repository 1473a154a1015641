"""The admin plane's HTTP, as bytes in and verdicts out."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.observe.admin._http import (
    MAX_BODY_BYTES,
    MAX_HEAD_BYTES,
    Refusal,
    encode_reply,
    parse_request,
)
from backstay.observe.desk import Request


def refused(head: bytes) -> int:
    verdict = parse_request(head)
    assert isinstance(verdict, Refusal)
    assert verdict.reason
    return verdict.status


def test_a_request_is_read_with_its_query_and_host() -> None:
    """Path, switches and Host come out of a plain GET."""
    asked = parse_request(b"GET /v1/ps?stacks=1&tree=0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert isinstance(asked, Request)
    assert (asked.method, asked.path, asked.host) == ("GET", "/v1/ps", "localhost")
    assert asked.query == {"stacks": "1", "tree": "0"}
    assert asked.switch("stacks")
    assert not asked.switch("tree")
    assert not asked.switch("absent")


@pytest.mark.parametrize("part", [b"", b"G", b"GET /", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_an_unfinished_head_is_waited_for(part: bytes) -> None:
    """Half a request is neither an answer nor an error yet."""
    assert parse_request(part) is None


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"PUT / HTTP/1.1\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 65537\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
        (b"get / HTTP/1.1\r\n\r\n", 405),
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"GET / SMTP\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"GET http://x/ HTTP/1.1\r\n\r\n", 400),
        (b"GET /\x00 HTTP/1.1\r\n\r\n", 400),
        (b"GET /\xc3\xa4 HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n: empty\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA b: c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: b\x00\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 413),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
        (b"GET /?" + b"a=1&" * 50 + b" HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * MAX_HEAD_BYTES + b"\r\n\r\n", 431),
        (b"G" * 4 + b" " + b"x" * MAX_HEAD_BYTES * 2, 431),
    ],
)
def test_what_is_not_understood_is_refused(head: bytes, status: int) -> None:
    """Each kind of wrong request has its status."""
    assert refused(head) == status


@pytest.mark.parametrize("head", [b"\x16\x03\x01\x02\x00", b"\x00" * 8, b"A" * 20, b"\xff\xfe"])
def test_hopeless_beginnings_are_refused_at_once(head: bytes) -> None:
    """TLS hellos and binary garbage are not waited for until the time-out."""
    assert refused(head) == 400


def test_a_body_is_waited_for() -> None:
    """A POST is complete with its last byte, and what follows is not part of it."""
    head = (
        b"POST /v1/probes HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\n"
    )
    assert parse_request(head + b"nul") is None
    asked = parse_request(head + b"null and more")
    assert isinstance(asked, Request)
    assert (asked.method, asked.body) == ("POST", b"null")
    longest = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % MAX_BODY_BYTES
    assert isinstance(parse_request(longest + b"x" * MAX_BODY_BYTES), Request)


@given(st.binary(max_size=400))
def test_no_bytes_make_it_raise(head: bytes) -> None:
    """Whatever arrives, there is a verdict."""
    assert isinstance(parse_request(head), Request | Refusal | None)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_garbage_around_a_request_is_a_verdict_too(target: bytes, header: bytes) -> None:
    """Garbage in the path or a header never raises either."""
    verdict = parse_request(b"GET /" + target + b" HTTP/1.1\r\nX: " + header + b"\r\n\r\n")
    assert isinstance(verdict, Request | Refusal | None)


def test_a_reply_closes_and_carries_json() -> None:
    """A reply is complete in itself: length, type, and the end of the connection."""
    head, _, body = encode_reply(200, {"a": 1}).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\nServer: backstay-admin\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert b"Connection: close" in head
    assert json.loads(body) == {"a": 1}
    assert b"Allow: GET" in encode_reply(405, {})
