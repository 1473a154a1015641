"""aiohttp.web behind the guard, on real sockets: deadlines, clients that leave, errors, the cap, and the end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

import backstay
from backstay.context import REQUEST_ID
from backstay.integrations.aiohttp_server import AiohttpServer, ServerGuard, aiohttp_server
from backstay.lifecycle import Readiness, Service
from backstay.tasks import current_scope

pytestmark = [pytest.mark.real_loop, pytest.mark.timeout(60)]


class Site:
    """The application of these tests, and what its handlers have seen."""

    def __init__(self, **options: Any) -> None:
        self.guard = ServerGuard(**options)
        self.app = web.Application(middlewares=[self.guard])
        self.entered = asyncio.Event()
        self.opened = asyncio.Event()
        self.log: list[str] = []
        for path in (
            "plain",
            "slow",
            "broken",
            "deliberate",
            "torn",
            "cancelled",
            "deaf",
            "children",
        ):
            self.app.router.add_get(f"/{path}/{{number}}", getattr(self, path))
        self.app.router.add_get("/socket", self.socket)

    async def plain(self, request: web.Request) -> web.Response:
        """Say what surrounds a request."""
        scope = current_scope()
        assert scope is not None
        left = backstay.remaining()
        return web.json_response(
            {"scope": scope.name, "left": left, "id": REQUEST_ID.get(), "trace": scope.trace_id}
        )

    async def slow(self, request: web.Request) -> web.Response:
        """Wait until the test lets it go on."""
        self.entered.set()
        try:
            await self.opened.wait()
        except asyncio.CancelledError:
            self.log.append("cancelled")
            raise
        return web.Response(text="done")

    async def children(self, request: web.Request) -> web.Response:
        """Start what outlives it, were it not owned."""
        scope = current_scope()
        assert scope is not None

        async def child() -> None:
            self.entered.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.log.append("child ended")

        scope.go(child)
        await asyncio.Event().wait()
        return web.Response()

    async def broken(self, request: web.Request) -> web.Response:
        """Fail with a word that is nobody's business."""
        raise RuntimeError("secret")

    async def deliberate(self, request: web.Request) -> web.Response:
        """Answer by an exception, as aiohttp's handlers do."""
        raise web.HTTPNotFound(text="no such order")

    async def torn(self, request: web.Request) -> web.StreamResponse:
        """Fail in the middle of the answer."""
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half")
        raise RuntimeError("secret")

    async def cancelled(self, request: web.Request) -> web.Response:
        """Wait for what somebody else has cancelled."""
        gone = asyncio.get_running_loop().create_future()
        gone.cancel()
        await gone
        return web.Response()

    async def deaf(self, request: web.Request) -> web.Response:
        """Take no notice of the first cancel."""
        self.entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()
        return web.Response()

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        """Echo one message, later than the deadline of a request."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        assert backstay.remaining() is None
        await socket.send_str((await socket.receive()).data)
        await socket.close()
        return socket


@asynccontextmanager
async def serving(site: Site) -> AsyncGenerator[tuple[AiohttpServer, aiohttp.ClientSession]]:
    """The site, and a client of it."""
    async with (
        aiohttp_server(site.app, site.guard, port=0) as server,
        aiohttp.ClientSession(server.url) as client,
    ):
        yield server, client


async def test_what_surrounds_a_request() -> None:
    """A scope named by its route, a deadline, the caller's trace and id, or ones of our own."""
    site = Site(timeout=5.0)
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01", "x-request-id": "mine-1"}
    async with serving(site) as (_, client):
        seen = await (await client.get("/plain/17")).json()
        assert seen["scope"] == "GET /plain/{number}"
        assert 4 < seen["left"] <= 5
        assert len(seen["id"]) == 16
        seen = await (await client.get("/plain/17", headers=headers)).json()
        assert (seen["trace"], seen["id"]) == (trace, "mine-1")
        for sent, left in (("1000", 1.0), ("60000", 5.0)):
            seen = await (
                await client.get("/plain/1", headers={"Backstay-Timeout-Ms": sent})
            ).json()
            assert left - 0.9 < seen["left"] <= left
        assert (await client.get("/nowhere")).status == 404


async def test_deadlines(caplog: pytest.LogCaptureFixture) -> None:
    """Spent on arrival, unreadable, and passed in flight; the record tells where it waited."""
    site = Site(timeout=0.1)
    async with serving(site) as (_, client):
        reply = await client.get("/plain/1", headers={"Backstay-Timeout-Ms": "0"})
        assert (reply.status, reply.headers["Backstay-Deadline"]) == (504, "expired")
        reply = await client.get("/plain/1", headers={"Backstay-Timeout-Ms": "soon"})
        assert reply.status == 400
        assert "'soon': expected whole milliseconds" in await reply.text()
        with caplog.at_level(logging.WARNING, "backstay.aiohttp"):
            reply = await client.get("/slow/1")
        assert (reply.status, reply.headers["Backstay-Deadline"]) == (504, "expired")
        assert site.log == ["cancelled"]
        assert "it waited at" in caplog.text
        assert reply.headers["x-request-id"] in await reply.text()
    told = site.guard.statistics()
    assert (told.requests, told.expired, told.malformed, told.in_flight) == (3, 2, 1, 0)


async def test_errors(caplog: pytest.LogCaptureFixture) -> None:
    """A plain 500 with an id, and the error in the log; an answer of the handler's own stays."""
    site = Site()
    async with serving(site) as (_, client):
        reply = await client.get("/broken/1?token=abc")
        text = await reply.text()
        assert (reply.status, "secret" in text) == (500, False)
        assert "RuntimeError: secret" in caplog.text
        assert "abc" not in caplog.text
        reply = await client.get("/deliberate/1")
        assert (reply.status, await reply.text()) == (404, "no such order")
        assert (await client.get("/cancelled/1")).status == 500
        with pytest.raises(aiohttp.ClientError):
            await (await client.get("/torn/1")).read()
    assert site.guard.statistics().failed == 3


async def test_a_client_that_leaves_ends_its_request_and_what_that_started() -> None:
    """Also a task in the background."""
    site = Site()
    async with serving(site) as (_, client):
        asking = asyncio.create_task(client.get("/children/1"))
        await site.entered.wait()
        asking.cancel()
        async with asyncio.timeout(10):
            while site.guard.in_flight:
                await asyncio.sleep(0.01)
    assert site.log == ["child ended"]
    assert site.guard.statistics().disconnected == 1


async def test_the_cap() -> None:
    """What comes beyond is answered at once."""
    site = Site(max_in_flight=1)
    async with serving(site) as (_, client):
        first = asyncio.create_task(client.get("/slow/1"))
        await site.entered.wait()
        reply = await client.get("/plain/1")
        assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
        site.opened.set()
        assert (await first).status == 200
        assert (await client.get("/plain/1")).status == 200
    assert site.guard.statistics().rejected == 1


async def test_a_websocket_has_no_deadline() -> None:
    """It lives for as long as it is wanted."""
    site = Site(timeout=0.05)
    async with serving(site) as (_, client), client.ws_connect("/socket") as socket:
        await asyncio.sleep(0.1)
        await socket.send_str("late")
        assert (await socket.receive()).data == "late"


async def test_the_end_of_the_block_lets_requests_finish() -> None:
    """Nothing new is taken, what runs is answered, and its connection is closed."""
    site = Site()
    async with aiohttp.ClientSession() as client:
        async with aiohttp_server(site.app, site.guard, port=0) as server:
            running = asyncio.create_task(client.get(f"{server.url}/slow/1"))
            await site.entered.wait()
            asyncio.get_running_loop().call_later(0.1, site.opened.set)
        reply = await running
        assert (reply.status, reply.headers["Connection"]) == (200, "close")
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.get(f"{server.url}/plain/1")


@pytest.mark.parametrize("path", ["slow", "deaf"])
async def test_in_a_service_a_request_is_cut_at_the_budget_and_named(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether it ends when it is cancelled, or not."""
    site, service = Site(timeout=None), Service("orders", grace=5.0)
    readiness = service.readiness
    site.guard = ServerGuard(timeout=None, readiness=readiness)
    site.app = web.Application(middlewares=[site.guard])
    site.app.router.add_get("/it/{number}", getattr(site, path))
    urls: list[str] = []

    @asynccontextmanager
    async def http() -> AsyncGenerator[None]:
        async with aiohttp_server(site.app, site.guard, port=0) as server:
            urls.append(server.url)
            yield

    service.add("http", http, budget=0.5)
    running = asyncio.create_task(service.run())
    async with asyncio.timeout(10), aiohttp.ClientSession() as client:
        while not readiness.ready:
            await asyncio.sleep(0.01)
        assert (await client.get(f"{urls[0]}/readyz")).status == 200
        assert (await client.get(f"{urls[0]}/livez")).status == 200
        asking = asyncio.create_task(client.get(f"{urls[0]}/it/1"))
        await site.entered.wait()
        began = time.monotonic()
        service.stop("SIGTERM")
        record = await running
        assert time.monotonic() - began < 4
        assert record.exit_code == 0
        with pytest.raises(aiohttp.ClientError):
            await asking
    assert "request cut, the budget of the server is used up" in caplog.text
    assert "test_aiohttp_server.py" in caplog.text


async def test_while_draining_it_is_not_ready_and_asks_clients_to_leave() -> None:
    """503 from /readyz, 200 from /livez, and each answer closes its connection."""
    readiness = Readiness()
    site = Site(readiness=readiness)
    async with serving(site) as (_, client):
        assert (await client.get("/readyz")).status == 503
        readiness.succeed()
        assert (await client.get("/readyz")).status == 200
        assert "Connection" not in (await client.get("/plain/1")).headers
        readiness.drain("draining")
        reply = await client.get("/readyz")
        assert (reply.status, await reply.text()) == (503, "draining\n")
        assert (await client.get("/livez")).status == 200
        assert (await client.get("/plain/1")).headers["Connection"] == "close"
        assert (await client.get("/healthz")).status == 404


async def test_a_taken_port_and_wrong_numbers_are_told() -> None:
    """With what was asked for."""
    site, other = Site(), Site()
    async with serving(site) as (server, _):
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{server.port}"):
            async with aiohttp_server(other.app, other.guard, port=server.port):
                pass
    with pytest.raises(ValueError, match="timeout=0"):
        ServerGuard(timeout=0)
