"""What real servers do that a model of ASGI does not show."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvloop
from applications import FRAMEWORKS, Diary
from real_server import request, serving

import backstay
from backstay.integrations.asgi import guard
from backstay.tasks import current_scope, info

pytestmark = [
    pytest.mark.real_loop,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


async def plain(send: Any, body: bytes = b"ok") -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize("http", ["httptools", "h11"])
async def test_pipelined_requests_inherit_nothing(http: str) -> None:
    """uvicorn starts the second of two pipelined requests inside the first one's last send."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        owner = current_scope()
        assert owner is not None
        await asyncio.sleep(0.15)  # long enough to be watched, so the pump is in play as well
        seen.append((owner.path, round(backstay.remaining() or 0)))
        await plain(send)

    served_app = guard(app, on_orphan="cancel")
    async with serving(served_app, http=http, lifespan="off") as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(
            b"GET /1 HTTP/1.1\r\nhost: x\r\nbackstay-timeout-ms: 1000\r\n\r\n"
            b"GET /2 HTTP/1.1\r\nhost: x\r\n\r\n"
            b"GET /3 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        )
        answer = await reader.read(-1)
        writer.close()
    assert answer.count(b"200 OK") == 3
    # h11 hands the next request over by a fresh callback; both must look the same to us.
    assert [path for path, _ in seen] == [("GET /{id}",)] * 3
    assert [left for _, left in seen] == [1, 10, 10]
    assert served_app.statistics().orphans == 0
    assert served_app.statistics().disconnected == 0


async def test_a_connection_kept_alive_after_a_big_upload_is_clean() -> None:
    """Reading is resumed inside the first request, and with it its context leaks to the next."""
    lefts: list[float] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        lefts.append(backstay.remaining() or 0)
        more = True
        while more:
            await asyncio.sleep(0.001)
            more = (await receive()).get("more_body", False)
        await plain(send)

    async with serving(guard(app), lifespan="off") as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        body = b"x" * 3_000_000
        head = "POST / HTTP/1.1\r\nhost: x\r\nbackstay-timeout-ms: 2000\r\n"
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        await reader.readuntil(b"ok")
        await asyncio.sleep(2.1)  # by now the first request's deadline has passed
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b"200" in await reader.readuntil(b"ok")
        writer.close()
    assert lefts[1] == pytest.approx(10.0, abs=0.1)


async def test_the_handlers_task_is_shown_as_the_requests_own() -> None:
    """A list of tasks shows who a server's task works for, and nobody once it is done."""
    owners: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        me = asyncio.current_task()
        assert me is not None
        owners.append(info(me).owner_path)
        await plain(send)

    async with serving(guard(app), lifespan="off") as served:
        await request(served.port, "/warm")  # tracking begins with the first request
        await request(served.port, "/orders/17")
    assert owners[1] == ("GET /orders/{id}",)


async def test_expect_100_continue_is_sent_only_when_the_handler_reads() -> None:
    """The watch must not ask for a body that the handler is about to refuse."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.3)
        await plain(send, b"no")

    async with serving(guard(app), lifespan="off") as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(
            b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n"
        )
        first = await reader.readline()
        writer.close()
    assert first.startswith(b"HTTP/1.1 200")


async def test_a_server_that_stops_at_once_reaches_the_handler() -> None:
    """uvicorn cancels what exceeds its graceful limit; that cancel goes through the guard."""
    diary = Diary()
    app = guard(FRAMEWORKS["starlette"](diary))
    async with serving(app, timeout_graceful_shutdown=1) as served:
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
        while "slow began" not in diary.notes:
            await asyncio.sleep(0.01)
    writer.close()
    assert "slow cancelled" in diary.notes


async def test_a_failing_startup_stops_the_server_as_without_a_guard() -> None:
    """The lifespan's failure reaches uvicorn, which refuses to serve."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.failed", "message": "no database"})

    async with serving(guard(app), lifespan="on") as served:
        assert not served.server.started


async def test_the_cap_over_real_connections() -> None:
    """Above the cap 503 comes at once, with Retry-After."""
    diary = Diary()
    app = guard(FRAMEWORKS["starlette"](diary), max_in_flight=2)
    async with serving(app) as served:
        slow = [
            asyncio.create_task(request(served.port, "/slow", head="Backstay-Timeout-Ms: 600\r\n"))
            for _ in range(2)
        ]
        while app.statistics().in_flight < 2:
            await asyncio.sleep(0.01)
        reply = await request(served.port, "/hello")
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        assert [r.status for r in await asyncio.gather(*slow)] == [504, 504]


@pytest.mark.parametrize("middleware", [False, True])
async def test_base_http_middleware_does_not_hide_the_disconnect(middleware: bool) -> None:
    """The guard is outermost, so what Starlette's middleware hides is seen all the same."""
    from starlette.middleware.base import BaseHTTPMiddleware

    async def passing(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    diary = Diary()
    inner = FRAMEWORKS["starlette"](diary)
    if middleware:
        inner.add_middleware(BaseHTTPMiddleware, dispatch=passing)
    app = guard(inner)
    async with serving(app) as served:
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
        while "slow began" not in diary.notes:
            await asyncio.sleep(0.01)
        writer.close()
        async with asyncio.timeout(3):
            while "slow cancelled" not in diary.notes:
                await asyncio.sleep(0.01)
    assert app.statistics().failed == 0


def test_all_of_it_on_uvloop() -> None:
    """Deadline, disconnect, tear and upload once more on the other loop."""

    async def main() -> None:
        diary = Diary()
        app = guard(FRAMEWORKS["fastapi"](diary))
        async with serving(app) as served:
            late = await request(served.port, "/slow", head="Backstay-Timeout-Ms: 200\r\n")
            assert late.status == 504
            torn = await request(served.port, "/half")
            assert not torn.complete
            upload = await request(served.port, "/upload", method="POST", body=b"x" * 1_000_000)
            assert upload.rest == b"1000000"
            diary.notes.clear()
            _, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
            async with asyncio.timeout(3):
                while "slow began" not in diary.notes:
                    await asyncio.sleep(0.01)
                writer.close()
                while "slow cancelled" not in diary.notes:
                    await asyncio.sleep(0.01)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
