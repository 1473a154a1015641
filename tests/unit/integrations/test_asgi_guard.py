"""The guard around a hand-driven server: deadlines, errors, caps, observe, passing through."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from asgi_harness import Exchange, hello, respond

import backstay
from backstay.context import REQUEST_ID, TRACE, deadline
from backstay.integrations.asgi import Route, TornResponse, guard
from backstay.tasks import current_scope, info

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


def records(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [r for r in caplog.records if r.name == "backstay.asgi"]


async def test_a_plain_answer_passes_untouched() -> None:
    """Nothing of a plain success changes: a header would cost the server microseconds."""
    served = guard(hello)
    exchange = await Exchange(served).run()
    assert exchange.status == 200
    assert exchange.body == b"ok"
    assert exchange.headers["x-app"] == "1"
    assert "x-request-id" not in exchange.headers
    stats = served.statistics()
    assert (stats.requests, stats.in_flight, stats.failed, stats.peak_in_flight) == (1, 0, 0, 1)


async def test_an_answer_that_will_be_asked_about_carries_the_request_id() -> None:
    """An application's own error answer names the id under which the log speaks of it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 404})
        await send({"type": "http.response.body"})

    exchange = await Exchange(guard(app)).run()
    assert len(exchange.headers["x-request-id"]) == 16


async def test_the_applications_own_message_and_header_list_stay_untouched() -> None:
    """A header list that the application shares between answers must not grow."""
    shared = [(b"x-app", b"1")]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": shared})
        await send({"type": "http.response.body"})

    await Exchange(guard(app)).run()
    assert shared == [(b"x-app", b"1")]


async def test_the_applications_own_request_id_header_wins() -> None:
    """There is never a second x-request-id."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"x-request-id", b"mine")]
        await send({"type": "http.response.start", "status": 404, "headers": headers})
        await send({"type": "http.response.body"})

    exchange = await Exchange(guard(app)).run()
    assert [v for k, v in exchange.sent[0]["headers"] if k == b"x-request-id"] == [b"mine"]


async def test_each_request_is_a_scope_with_trace_request_id_and_deadline() -> None:
    """The handler sees owner, trace, id and deadline, and its own task belongs to the request."""
    seen: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        owner = current_scope()
        assert owner is not None
        seen.update(name=owner.name, kind=owner.kind, trace=owner.trace_id)
        seen.update(values=(TRACE.get(), REQUEST_ID.get()), left=backstay.remaining())
        me = asyncio.current_task()
        assert me is not None
        seen.update(mine=info(me).owner is owner)
        await hello(scope, receive, send)

    headers = [("traceparent", f"00-{TRACE_ID}-00f067aa0ba902b7-01"), ("x-request-id", "abc.1")]
    exchange = await Exchange(guard(app), path="/orders/17", headers=headers).start()
    assert seen == {
        "name": "GET /orders/{id}",
        "kind": "request",
        "trace": TRACE_ID,
        "values": (TRACE_ID, "abc.1"),
        "left": 10.0,
        "mine": True,
    }
    assert exchange.headers["x-request-id"] == "abc.1"
    assert current_scope() is None
    assert deadline() is None


async def test_invalid_trace_and_request_ids_are_replaced_and_counted() -> None:
    """A stranger's nonsense never reaches the logs; the request is served as ever."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((TRACE.get(), REQUEST_ID.get()))
        await hello(scope, receive, send)

    served = guard(app)
    good = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
    for headers in (
        [("traceparent", "00-zz"), ("x-request-id", "a b")],
        [
            ("traceparent", good),
            ("traceparent", good),
            ("x-request-id", "a"),
            ("x-request-id", "b"),
        ],
        [("traceparent", "x" * 100_000), ("x-request-id", "y" * 100_000)],
    ):
        exchange = await Exchange(served, headers=headers).run()
        assert exchange.status == 200
    for trace, request_id in seen:
        assert len(trace) == 32
        assert trace != TRACE_ID
        assert len(request_id) == 16
    assert served.statistics().ignored_headers == 6


# -- deadlines -----------------------------------------------------------------


async def sleeper(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.sleep(3600)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], 10.0),
        ([("Backstay-Timeout-Ms", "250")], 0.25),
        ([("Backstay-Timeout-Ms", "250"), ("Backstay-Timeout-Ms", "120")], 0.12),
        ([("x-envoy-expected-rq-timeout-ms", "300")], 0.3),
        ([("X-Request-Timeout-Ms", "400")], 0.4),
        ([("grpc-timeout", "2S")], 2.0),
        ([("grpc-timeout", "2S"), ("Backstay-Timeout-Ms", "700")], 0.7),
        ([("Backstay-Timeout-Ms", "9999999999")], 10.0),
        ([("x-envoy-expected-rq-timeout-ms", "0")], 10.0),
        ([("x-envoy-expected-rq-timeout-ms", "-1")], 10.0),
        ([("X-Request-Timeout-Ms", "NaN")], 10.0),
        ([("grpc-timeout", "٣S".encode().decode("latin-1"))], 10.0),
        ([("x-envoy-expected-rq-timeout-ms", "9" * 100_000)], 10.0),
    ],
)
async def test_a_deadline_in_flight_is_answered_504_with_the_marker(
    headers: list[tuple[str, str]], seconds: float, caplog: pytest.LogCaptureFixture
) -> None:
    """The least of what the wire and the default say holds; nonsense from proxies is ignored."""
    served = guard(sleeper)
    began = backstay.now()
    exchange = await Exchange(served, headers=headers).start()
    assert seconds <= backstay.now() - began <= seconds + 0.011
    assert exchange.status == 504
    assert exchange.headers["backstay-deadline"] == "expired"
    assert exchange.complete
    stats = served.statistics()
    assert (stats.expired, stats.expired_on_arrival, stats.failed) == (1, 0, 0)
    (record,) = records(caplog)
    assert record.levelno == logging.WARNING
    assert "test_asgi_guard.py:" in record.__dict__["waited_at"]


@pytest.mark.parametrize("name", ["Backstay-Timeout-Ms", "X-Request-Timeout-Ms", "grpc-timeout"])
async def test_a_deadline_spent_on_arrival_is_answered_before_the_application_runs(
    name: str,
) -> None:
    """Fail fast: the marker tells the caller not to retry."""
    value = "0m" if name == "grpc-timeout" else "0"
    ran: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        ran.append(1)

    served = guard(app)
    exchange = await Exchange(served, headers=[(name, value)]).run()
    assert exchange.status == 504
    assert exchange.headers["backstay-deadline"] == "expired"
    assert not ran
    assert served.statistics().expired_on_arrival == 1


@pytest.mark.parametrize(
    "value",
    [
        "",
        "garbage",
        "-5",
        "+5",
        "1.5",
        "NaN",
        "inf",
        "1e9",
        "²",
        "5, 6",
        "99999999999",
        "9" * 100_000,
    ],
    ids=lambda v: repr(v[:12]),
)
async def test_a_malformed_deadline_of_our_own_is_a_clean_400(value: str) -> None:
    """The answer names the header, what was seen, and the cure, in one bounded line."""
    served = guard(hello)
    exchange = await Exchange(served, headers=[("Backstay-Timeout-Ms", value)]).run()
    assert exchange.status == 400
    assert len(exchange.body) < 300
    assert exchange.body.count(b"\n") == 1
    assert b"Backstay-Timeout-Ms" in exchange.body
    assert b"leave it out" in exchange.body
    assert served.statistics().malformed == 1


async def test_max_timeout_lets_callers_ask_for_more_than_the_default() -> None:
    """The default holds for callers that say nothing, max_timeout for those that do."""
    served = guard(sleeper, timeout=1.0, max_timeout=5.0)
    for headers, seconds in (([], 1.0), ([("Backstay-Timeout-Ms", "60000")], 5.0)):
        began = backstay.now()
        await Exchange(served, headers=headers).start()
        assert backstay.now() - began == pytest.approx(seconds, abs=0.011)


async def test_routes_set_their_own_deadline() -> None:
    """The first fitting route counts; None means no deadline at all."""
    served = guard(sleeper, routes=[Route("/slow", timeout=30.0), Route("/stream/*", timeout=None)])
    began = backstay.now()
    await Exchange(served, path="/slow").start()
    assert backstay.now() - began == pytest.approx(30.0, abs=0.011)
    task = Exchange(served, path="/stream/a/b").start()
    await asyncio.sleep(1000)
    assert not task.done()
    task.cancel()
    await asyncio.wait({task})


async def test_a_deadline_after_the_head_was_sent_tears_the_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A half answer must not look whole: the server is made to close the connection."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        await asyncio.sleep(3600)

    served = guard(app)
    exchange = Exchange(served)
    with pytest.raises(TornResponse, match="being sent"):
        await exchange.start()
    assert exchange.body == b"half"
    assert not exchange.complete
    assert served.statistics().torn == 1
    assert "Route(path, timeout=None)" in records(caplog)[0].getMessage()


async def test_an_inner_timeout_is_the_handlers_own_failure() -> None:
    """Only the request's deadline carries the marker; a nested one that escapes is a 500."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with backstay.timeout(0.1):
            await asyncio.sleep(1)

    exchange = await Exchange(guard(app)).start()
    assert exchange.status == 500
    assert "backstay-deadline" not in exchange.headers


async def test_a_nested_scope_under_the_same_deadline_still_gives_504() -> None:
    """A scope inside inherits the deadline; whoever strikes first, the caller sees the marker."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with backstay.Scope("inner") as inner:
            inner.go(asyncio.sleep, 3600)

    exchange = await Exchange(guard(app)).start()
    assert exchange.status == 504


async def test_background_work_after_the_answer_is_not_bound_by_the_deadline() -> None:
    """Once the answer is out nobody waits, so nothing is cut."""
    left: list[float | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await hello(scope, receive, send)
        await asyncio.sleep(100)
        left.append(backstay.remaining())

    for timeout in (10.0, 0.1):
        exchange = await Exchange(guard(app, timeout=timeout)).start()
        assert exchange.status == 200
    assert left == [None, None]


async def test_a_deadline_that_surrounds_the_server_holds_too() -> None:
    """A deadline only shrinks: one set around the whole server binds every request."""
    with pytest.raises(backstay.errors.DeadlineExceeded) as raised:
        async with backstay.Scope("outer", timeout=3.0):
            await Exchange(guard(sleeper)).run()
    assert raised.value.scope == "outer"
    assert backstay.now() == pytest.approx(3.0, abs=0.011)


# -- the cap -------------------------------------------------------------------


async def test_the_cap_answers_503_before_the_application_runs() -> None:
    """Whoever is over the cap hears when to come back; probes are always served."""
    calls: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        calls.append(scope["path"])
        if scope["path"] == "/":
            await asyncio.sleep(5)
        await hello(scope, receive, send)

    served = guard(app, max_in_flight=2, retry_after=1.2)
    tasks = [Exchange(served).start() for _ in range(2)]
    await asyncio.sleep(1)
    refused = await Exchange(served).run()
    assert refused.status == 503
    assert refused.headers["retry-after"] == "2"
    assert len(refused.body) < 100
    probe = await Exchange(served, path="/readyz").run()
    assert probe.status == 200
    assert calls == ["/", "/", "/readyz"]
    for task in tasks:
        assert (await task).status == 200
    assert (await Exchange(served).start()).status == 200
    stats = served.statistics()
    assert (stats.rejected, stats.in_flight, stats.requests) == (1, 0, 5)


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": 0},
        {"timeout": -1},
        {"timeout": float("nan")},
        {"max_in_flight": 0},
        {"on_orphan": "kill"},
        {"retry_after": -1},
        {"disconnect_delay": 0},
    ],
)
def test_options_out_of_range_are_refused_at_once(options: dict[str, Any]) -> None:
    """A wrong option fails where it is written."""
    with pytest.raises(ValueError, match="guard"):
        guard(hello, **options)


def test_a_route_that_cannot_be_meant_is_refused() -> None:
    """A path begins with a slash and a timeout is above zero."""
    with pytest.raises(ValueError, match="begins with"):
        Route("orders")
    with pytest.raises(ValueError, match="above 0"):
        Route("/orders", timeout=0)


# -- observe, lifespan, other kinds ----------------------------------------------


async def test_observe_attributes_and_changes_nothing() -> None:
    """No deadline, no header, no error mapping: only an owner and a trace id."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        owner = current_scope()
        assert owner is not None
        seen.append((owner.name, owner.trace_id, backstay.remaining(), receive, send))
        if scope["path"] == "/boom":
            raise ValueError("boom")
        await asyncio.sleep(100)
        await hello(scope, receive, send)

    served = guard(app, observe=True, timeout=1.0, max_in_flight=1)
    headers = [("traceparent", f"00-{TRACE_ID}-00f067aa0ba902b7-01"), ("Backstay-Timeout-Ms", "0")]
    exchange = Exchange(served, headers=headers)
    other = Exchange(served)
    await asyncio.gather(exchange.start(), other.start())
    assert exchange.sent == respond()
    assert seen[0] == ("GET /", TRACE_ID, None, exchange.receive, exchange.send)
    with pytest.raises(ValueError, match="boom"):
        await Exchange(served, path="/boom").run()
    stats = served.statistics()
    assert (stats.requests, stats.failed, stats.peak_in_flight) == (3, 1, 2)


async def test_unknown_kinds_pass_through_untouched() -> None:
    """What ASGI may grow tomorrow is none of our business today."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, receive, send))

    exchange = Exchange(guard(app), kind="telepathy")
    await exchange.run()
    assert seen == [(exchange.scope, exchange.receive, exchange.send)]


async def test_extensions_and_their_messages_pass_through() -> None:
    """Early hints, trailers, sending by path: known as the end of an answer where they are one."""

    async def hints(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.early_hint", "links": []})
        await hello(scope, receive, send)

    async def by_path(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.pathsend", "path": "/tmp/x"})

    async def trailers(scope: Any, receive: Any, send: Any) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": [], "trailers": True}
        await send(start)
        await send({"type": "http.response.body", "body": b"x"})
        await send({"type": "http.response.trailers", "headers": [], "more_trailers": False})

    for app, count in ((hints, 3), (by_path, 2), (trailers, 3)):
        exchange = await Exchange(guard(app)).run()
        assert len(exchange.sent) == count


async def test_the_next_request_of_a_connection_inherits_nothing_from_the_last() -> None:
    """Servers start pipelined requests inside the last one: its deadline and scope are refused."""
    seen: list[Any] = []
    second: list[asyncio.Task[Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        owner = current_scope()
        assert owner is not None
        seen.append((owner.path, backstay.remaining(), TRACE.get() == owner.trace_id))
        if scope["path"] == "/first":
            second.append(Exchange(served, path="/second").start())
        await hello(scope, receive, send)

    served = guard(app, on_orphan="cancel")
    await Exchange(served, path="/first", headers=[("Backstay-Timeout-Ms", "100")]).start()
    exchange = await second[0]
    await asyncio.sleep(1)
    assert exchange.status == 200
    assert seen == [(("GET /first",), 0.1, True), (("GET /second",), 10.0, True)]
    assert served.statistics().orphans == 0


async def test_a_guard_within_a_guard_shares_one_tree() -> None:
    """An application guarded twice works; the inner request is inside the outer one."""
    paths: list[tuple[str, ...]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        owner = current_scope()
        assert owner is not None
        paths.append(owner.path)
        await hello(scope, receive, send)

    exchange = await Exchange(guard(guard(app))).run()
    assert exchange.status == 200
    assert paths == [("GET /", "GET /")]
