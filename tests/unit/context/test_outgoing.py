"""What a call takes along: deadline, trace, request id, carried keys, and never a secret."""

from __future__ import annotations

import asyncio

import pytest

import backstay
from backstay.context import (
    REQUEST_ID,
    SPAN,
    TRACE,
    Key,
    TraceParent,
    bind,
    current_span,
    outgoing_headers,
    parse_baggage,
    parse_traceparent,
    time_for_call,
)
from backstay.errors import DeadlineExceeded, ExpiredError

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_an_empty_context_sends_nothing() -> None:
    """No header is invented."""
    assert outgoing_headers() == {}
    assert time_for_call() is None


async def test_everything_that_is_carried_and_nothing_else() -> None:
    """Secret and local keys stay here; the trace goes on under a new span, as sampled."""
    tenant = Key[str]("tenant", carry=True)
    token = Key[str]("token", secret=True)
    local = Key[str]("local")
    with (
        bind(TRACE, TRACE_ID),
        bind(REQUEST_ID, "r-1"),
        bind(tenant, "a,b"),
        bind(token, "hunter2"),
        bind(local, "here"),
    ):
        async with backstay.timeout(2.0):
            headers = outgoing_headers(margin=0.5)
    parent = parse_traceparent(headers.pop("traceparent"))
    assert parent is not None
    assert (parent.trace_id, parent.flags) == (TRACE_ID, 1)
    assert parse_baggage(headers.pop("baggage"), ["tenant"]) == {"tenant": "a,b"}
    assert headers == {"x-request-id": "r-1", "backstay-timeout-ms": "1500"}


async def test_no_time_left_means_no_call() -> None:
    """The error names whose deadline it was, before anything is sent."""
    with pytest.raises(DeadlineExceeded):
        async with backstay.Scope("checkout", timeout=1.0):
            await asyncio.sleep(0.95)
            with pytest.raises(ExpiredError, match=r"'checkout' leaves 50 ms .* margin is 100 ms"):
                outgoing_headers(margin=0.1)
            await asyncio.sleep(1)


def test_a_span_is_the_parent_within_its_own_trace() -> None:
    """One of another trace is a leftover of whoever started the server: a new span is named, and none is current."""
    span = TraceParent("1" * 32, "2" * 16, 0)
    with bind(SPAN, span):
        assert current_span() is None
        with bind(TRACE, "1" * 32):
            assert current_span() == span
            assert outgoing_headers()["traceparent"] == f"00-{'1' * 32}-{'2' * 16}-00"
        with bind(TRACE, "3" * 32):
            assert current_span() is None
            assert not outgoing_headers()["traceparent"].endswith(f"{'2' * 16}-00")
