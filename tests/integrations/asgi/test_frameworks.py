"""The guard around each framework under a real uvicorn, over real sockets."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from applications import FRAMEWORKS, Diary
from real_server import Reply, raw, request, serving

from backstay.integrations.asgi import Route, guard

pytestmark = [pytest.mark.real_loop, pytest.mark.slow]

frameworks = pytest.mark.parametrize("framework", FRAMEWORKS)
# The wrappers of websockets' older server that uvicorn still imports warn about themselves.
pytestmark.append(pytest.mark.filterwarnings("ignore::DeprecationWarning"))


def failures(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [r for r in caplog.records if r.name == "backstay.asgi" and r.levelno >= logging.ERROR]


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


@frameworks
async def test_plain_answers_streams_uploads_and_background_work(framework: str) -> None:
    """Whatever worked without a guard works the same with it."""
    diary = Diary()
    app = guard(FRAMEWORKS[framework](diary))
    async with serving(app) as served:
        hello = await request(served.port, "/hello")
        assert (hello.status, hello.rest) == (200, b"hello")
        assert "x-request-id" not in hello.headers
        stream = await request(served.port, "/stream")
        assert stream.complete
        assert b"4" in stream.rest
        body = b"x" * 10_000_000
        upload = await request(served.port, "/upload", method="POST", body=body)
        assert (upload.status, upload.rest) == (200, b"10000000")
        await request(served.port, "/background")
        await until(lambda: "background done" in diary.notes)
        assert "up" in diary.notes
    assert diary.notes[-1] == "down"
    stats = app.statistics()
    assert (stats.requests, stats.failed, stats.in_flight, stats.torn) == (4, 0, 0, 0)


@frameworks
async def test_the_next_request_of_a_route_is_named_by_its_template(framework: str) -> None:
    """One name for all orders, learned from the framework where ids do not look like ids."""
    async with serving(guard(FRAMEWORKS[framework](Diary()))) as served:
        await request(served.port, "/orders/alice")
        second = await request(served.port, "/orders/bob")
    assert second.rest.decode().strip('"') == (
        "GET /orders/bob" if framework == "raw" else "GET /orders/{order_id}"
    )


@frameworks
async def test_an_unhandled_error_is_a_500_and_one_record(
    framework: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The client gets a whole answer; the log gets one record."""
    async with serving(guard(FRAMEWORKS[framework](Diary()))) as served:
        reply = await request(served.port, "/boom?token=secret")
    assert reply.status == 500
    assert reply.complete
    # Litestar handles what its handlers raise, and logs it itself.
    assert len(failures(caplog)) == (0 if framework == "litestar" else 1)
    assert "secret" not in "".join(str(r.__dict__) for r in failures(caplog))


@frameworks
async def test_a_failure_in_the_middle_of_a_stream_is_seen_as_broken(framework: str) -> None:
    """The connection is cut, so that no client takes half an answer for a whole one."""
    app = guard(FRAMEWORKS[framework](Diary()))
    async with serving(app) as served:
        reply = await request(served.port, "/half")
    assert reply.status == 200
    assert b"first" in reply.rest
    assert not reply.complete
    assert app.statistics().torn == 1


@frameworks
async def test_the_deadline_gives_504_and_cancels_the_handler(framework: str) -> None:
    """Over the wire and back: the marker reaches the caller."""
    diary = Diary()
    async with serving(guard(FRAMEWORKS[framework](diary))) as served:
        reply = await request(served.port, "/slow", head="Backstay-Timeout-Ms: 200\r\n")
        assert reply.status == 504
        assert reply.headers["backstay-deadline"] == "expired"
        assert diary.notes[-1] == "slow cancelled"
        bad = await request(served.port, "/hello", head="Backstay-Timeout-Ms: soon\r\n")
        assert bad.status == 400


@frameworks
async def test_a_client_that_leaves_cancels_the_handler(framework: str) -> None:
    """A closed connection ends the work within a tenth of a second."""
    diary = Diary()
    app = guard(FRAMEWORKS[framework](diary))
    async with serving(app) as served:
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
        await until(lambda: "slow began" in diary.notes)
        writer.close()
        await until(lambda: "slow cancelled" in diary.notes)
        await until(lambda: app.statistics().disconnected == 1)
    assert app.statistics().failed == 0


@frameworks
async def test_opting_out_lets_the_handler_finish(framework: str) -> None:
    """A route that must go on goes on; the graceful shutdown waits for it."""
    diary = Diary()
    routes = [Route("/background", cancel_on_disconnect=False)]
    async with serving(guard(FRAMEWORKS[framework](diary), routes=routes)) as served:
        await raw(served.port, b"GET /background HTTP/1.1\r\nhost: x\r\n\r\n", read=False)
        await until(lambda: "background done" in diary.notes)


@frameworks
async def test_websockets_pass_through(framework: str, caplog: pytest.LogCaptureFixture) -> None:
    """Echo works; an error closes with 1011 and is one record; the gauge goes down again."""
    from aiohttp import ClientSession, WSMsgType

    app = guard(FRAMEWORKS[framework](Diary()))
    async with serving(app, ws="websockets-sansio") as served, ClientSession() as client:
        async with client.ws_connect(f"http://127.0.0.1:{served.port}/ws") as socket:
            await socket.send_str("hi")
            assert await socket.receive_str() == "hi"
            assert app.statistics().websockets == 1
        async with client.ws_connect(f"http://127.0.0.1:{served.port}/ws") as socket:
            await socket.send_str("boom")
            message = await socket.receive()
            assert message.type in {WSMsgType.CLOSE, WSMsgType.CLOSED}
            assert socket.close_code in {1011, 4500}
        await until(lambda: app.statistics().websockets == 0)
    assert app.statistics().websockets_total == 2
    assert len(failures(caplog)) == (0 if framework == "litestar" else 1)


@frameworks
async def test_orphans_are_found_and_cancelled(framework: str) -> None:
    """The task that a handler leaves behind ends a moment after the request."""
    diary = Diary()
    app = guard(FRAMEWORKS[framework](diary), on_orphan="cancel")
    async with serving(app) as served:
        await request(served.port, "/spawn")
        await until(lambda: diary.spawned[0].cancelled())
    assert app.statistics().orphans == 1


@frameworks
async def test_observe_leaves_the_bytes_alone(framework: str) -> None:
    """With observe the reply has not one header more than without a guard."""
    replies: list[Reply] = []
    bare = FRAMEWORKS[framework](Diary())
    for app in (bare, guard(bare, observe=True)):
        async with serving(app) as served:
            replies.append(await request(served.port, "/hello"))
    without, observed = replies
    assert observed.rest == without.rest
    assert set(observed.headers) == set(without.headers)
