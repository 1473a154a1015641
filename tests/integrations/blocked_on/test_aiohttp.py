"""Conformance: what waiting inside aiohttp is called, on the client's and on the server's side."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import aiohttp
from aiohttp import web

from backstay.tasks._blocked_on import blocked_on

Stack = contextlib.AsyncExitStack


def _where(session: aiohttp.ClientSession, port: int) -> str:
    return f"http://127.0.0.1:{port}/secret-path?token=secret"


def test_request_waits_for_the_response(classify: Any, silent_port: int) -> None:
    """A request to a server that never answers is named with its method and origin, and no more."""

    async def call(stack: Stack) -> None:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        async with session.get(_where(session, silent_port)):
            pass

    seen = classify(call, "http request: waiting for the response")
    assert (seen.kind, seen.label) == ("http", "http request: waiting for the response")
    assert seen.detail == f"GET http://127.0.0.1:{silent_port}"
    assert seen.site.startswith(f"{__file__}:")


def test_request_waits_for_a_free_connection(classify: Any, silent_port: int) -> None:
    """An exhausted connection pool is told from a slow server, since the cure is another one."""

    async def call(stack: Stack) -> None:
        connector = aiohttp.TCPConnector(limit=1)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        first = asyncio.create_task(_get(session, silent_port))
        stack.callback(first.cancel)
        await asyncio.sleep(0.05)
        await _get(session, silent_port)

    seen = classify(call, "http request: waiting for a free connection")
    assert (seen.kind, seen.label) == ("http", "http request: waiting for a free connection")


async def _get(session: aiohttp.ClientSession, port: int) -> None:
    async with session.post(_where(session, port), data=b"x"):
        pass


def test_response_body(classify: Any) -> None:
    """A body that stops half way is a wait for the body, not for the response."""

    async def call(stack: Stack) -> None:
        async def half(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"half")
            await asyncio.sleep(100)
            return response

        session, url = await _serve(stack, half)
        async with session.get(url) as response:
            await response.read()

    seen = classify(call, "http response body")
    assert (seen.kind, seen.label) == ("http", "http response body")
    assert seen.site.startswith(f"{__file__}:")


def test_websocket_receive(classify: Any) -> None:
    """Both ends of a quiet websocket wait to receive."""
    server_side: list[asyncio.Task[Any]] = []

    async def call(stack: Stack) -> None:
        async def quiet(request: web.Request) -> web.WebSocketResponse:
            response = web.WebSocketResponse()
            await response.prepare(request)
            server_side.append(asyncio.current_task())  # type: ignore[arg-type]
            async for _ in response:
                pass
            return response

        session, url = await _serve(stack, quiet)
        async with session.ws_connect(url) as websocket:
            await asyncio.sleep(0.05)
            far = blocked_on(server_side[0])
            assert far is not None
            assert far.label == "websocket recv"
            await websocket.receive()

    seen = classify(call, "websocket recv")
    assert (seen.kind, seen.label) == ("socket", "websocket recv")


def test_server_reads_a_request_body(classify: Any) -> None:
    """A handler that waits for a body which does not come says so."""
    near: list[asyncio.Task[Any]] = []

    async def call(stack: Stack) -> None:
        async def handler(request: web.Request) -> web.Response:
            near.append(asyncio.current_task())  # type: ignore[arg-type]
            return web.Response(body=await request.read())

        _, url = await _serve(stack, handler)
        port = int(url.rpartition(":")[2].strip("/"))
        sock = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        sock.sendall(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf")
        await asyncio.sleep(0.1)
        far = blocked_on(near[0])
        assert far is not None
        assert (far.kind, far.label) == ("http", "http request body")
        assert far.site.startswith(f"{__file__}:")
        await asyncio.Event().wait()

    classify(call, "event wait")


def test_server_waits_for_the_next_request(classify: Any) -> None:
    """An idle keep-alive connection is not mistaken for a handler at work."""

    async def call(stack: Stack) -> None:
        async def handler(request: web.Request) -> web.Response:
            return web.Response()

        session, url = await _serve(stack, handler)
        async with session.get(url) as response:
            await response.read()
        await asyncio.sleep(0.05)
        labels = [found.label for each in asyncio.all_tasks() if (found := blocked_on(each))]
        assert "http next request" in labels, labels
        await asyncio.Event().wait()

    classify(call, "event wait")


async def _serve(stack: Stack, handler: Any) -> tuple[aiohttp.ClientSession, str]:
    app = web.Application()
    app.router.add_route("*", "/", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    session = await stack.enter_async_context(aiohttp.ClientSession())
    return session, f"http://127.0.0.1:{port}/"


def test_connecting(classify: Any) -> None:
    """A connection that is never accepted is reported as connecting."""

    async def call(stack: Stack) -> None:
        # A listener with a full backlog: the kernel leaves further connections in limbo.
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(("127.0.0.1", port))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        await _get(session, port)

    seen = classify(call, "http request: connecting")
    assert (seen.kind, seen.label) == ("http", "http request: connecting")
