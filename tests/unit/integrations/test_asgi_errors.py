"""Unhandled errors, torn answers and cancels: what the client and the log get to see."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from asgi_harness import Exchange, hello, respond

import backstay
from backstay.integrations.asgi import TornResponse, guard

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


def records(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [r for r in caplog.records if r.name == "backstay.asgi"]


async def sleeper(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.sleep(3600)


async def test_an_unhandled_error_is_one_record_and_a_clean_500(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Everything needed to find the request, and neither query string nor secret."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.5)
        raise ValueError("boom\nfake log line")

    served = guard(app)
    headers = [
        ("traceparent", f"00-{TRACE_ID}-00f067aa0ba902b7-01"),
        ("x-request-id", "r-1"),
        ("authorization", "Bearer hunter2"),
    ]
    exchange = await Exchange(served, path="/a\nb", method="POST", headers=headers).run()
    assert exchange.status == 500
    assert exchange.body == b"internal server error (request r-1)\n"
    assert exchange.headers["x-request-id"] == "r-1"
    (record,) = records(caplog)
    fields = record.__dict__
    assert record.levelno == logging.ERROR
    assert fields["method"] == "POST"
    assert fields["path"] == "/a\\nb"
    assert fields["peer"] == "192.0.2.7:4711"
    assert fields["request_id"] == "r-1"
    assert fields["trace_id"] == TRACE_ID
    assert fields["owner"] == "POST /a?b"
    assert fields["elapsed"] == 0.5
    assert record.exc_info is not None
    assert "\n" not in record.getMessage()
    assert "secret" not in str(fields)
    assert "hunter2" not in str(fields)
    assert served.statistics().failed == 1


async def test_an_error_after_the_head_was_sent_closes_the_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The error goes on to the server, which then cuts the connection."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError("boom")

    served = guard(app)
    exchange = Exchange(served)
    with pytest.raises(TornResponse) as raised:
        await exchange.run()
    assert isinstance(raised.value.__cause__, ValueError)
    assert not exchange.complete
    assert len(records(caplog)) == 1
    assert served.statistics().torn == 1


async def test_a_framework_that_answers_500_and_raises_is_logged_once_and_not_raised(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Starlette sends its own 500 and raises: the answer is whole, so the connection lives."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in respond(500, b"theirs"):
            await send(message)
        raise ValueError("boom")

    exchange = await Exchange(guard(app)).run()
    assert (exchange.status, exchange.body) == (500, b"theirs")
    assert len(records(caplog)) == 1


async def test_an_application_that_returns_without_answer_gets_a_500() -> None:
    """Returning quietly is a bug of the application and is said so."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        return

    exchange = await Exchange(guard(app)).run()
    assert exchange.status == 500


async def test_an_application_that_stops_in_the_middle_is_torn() -> None:
    """An answer that was never finished must not look finished."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    with pytest.raises(TornResponse, match="stopped"):
        await Exchange(guard(app)).run()


async def test_a_send_that_fails_on_the_last_part_is_not_taken_for_complete() -> None:
    """The server refused the end of the answer, so the answer is torn."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        exchange.send_error = RuntimeError("Response content shorter than Content-Length")
        await send({"type": "http.response.body", "body": b""})

    exchange = Exchange(guard(app))
    with pytest.raises(TornResponse):
        await exchange.run()


async def test_a_cancelled_error_of_the_handlers_own_is_a_failure() -> None:
    """Awaiting something that was cancelled elsewhere is a bug, not a cancel of the request."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        other = asyncio.create_task(asyncio.sleep(1))
        other.cancel()
        await other

    exchange = await Exchange(guard(app)).start()
    assert exchange.status == 500


async def test_a_cancel_from_the_server_goes_through() -> None:
    """The server's decision is never swallowed, and nothing is sent behind its back."""
    served = guard(sleeper)
    exchange = Exchange(served)
    task = exchange.start()
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert exchange.sent == []
    assert served.statistics().in_flight == 0


async def test_errors_of_tasks_started_with_go_fail_the_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A child of the request that fails is the request's failure."""

    async def boom() -> None:
        raise ValueError("child")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        backstay.go(boom)
        await asyncio.sleep(1)
        await hello(scope, receive, send)

    exchange = await Exchange(guard(app)).start()
    assert exchange.status == 500
    assert len(records(caplog)) == 1


async def test_late_messages_of_the_application_never_follow_the_guards_answer() -> None:
    """A task that still sends after the 504 is refused, as for a client that left."""
    errors: list[Exception] = []

    async def late(send: Any) -> None:
        await asyncio.sleep(20)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        except OSError as error:
            errors.append(error)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["keep"] = asyncio.create_task(late(send))
        await asyncio.sleep(3600)

    exchange = await Exchange(guard(app)).start()
    await asyncio.sleep(30)
    assert exchange.status == 504
    assert len(errors) == 1


async def test_a_client_that_does_not_read_the_end_is_on_the_clock() -> None:
    """A server holds the last part back while the client reads nothing; the deadline still holds."""

    async def stuck(message: Any) -> None:
        if message["type"] == "http.response.body":
            await asyncio.sleep(3600)

    exchange = Exchange(hello)
    with pytest.raises(TornResponse):
        await guard(hello, timeout=2.0)(exchange.scope, exchange.receive, stuck)
    assert backstay.now() == pytest.approx(2.0, abs=0.011)
