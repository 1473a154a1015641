"""Conformance: what waiting inside uvicorn and starlette is called."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from backstay.tasks._blocked_on import BlockedOn, blocked_on

Stack = contextlib.AsyncExitStack
_HALF = b"POST %s HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf"


async def body(request: Request) -> Response:
    return Response(await request.body())


async def stream(request: Request) -> Response:
    async for _ in request.stream():
        pass
    return Response()


async def endless(request: Request) -> Response:
    async def quiet() -> Any:
        yield b"first"
        await asyncio.Event().wait()

    return StreamingResponse(quiet())


async def flood(request: Request) -> Response:
    async def chunks() -> Any:
        while True:
            yield b"x" * 1_000_000
            await asyncio.sleep(0)  # so that the end of the client is noticed

    return StreamingResponse(chunks())


async def pooled(request: Request) -> Response:
    await run_in_threadpool(_RELEASE.wait)
    return Response()


def sync_endpoint(request: Request) -> Response:
    _RELEASE.wait()
    return Response()


async def asgi_receive(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await receive()


_RELEASE = threading.Event()
_ROUTES = [
    Route(f"/{each.__name__}", each, methods=["POST"])
    for each in (body, stream, endless, flood, pooled, sync_endpoint)
]


async def _found(stack: Stack, path: str, http: str, app: Any) -> list[BlockedOn]:
    _RELEASE.clear()
    config = uvicorn.Config(
        app, port=0, http=http, lifespan="on" if path == "/body" else "off", log_level="critical"
    )
    server = uvicorn.Server(config)
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    config.load()
    before = asyncio.all_tasks()
    # The public serve() takes over the signals of the process; its inside does not.
    serving = asyncio.create_task(server._serve([listener]))

    async def stop() -> None:
        _RELEASE.set()
        server.force_exit = server.should_exit = True
        await serving

    stack.push_async_callback(stop)
    peer = stack.enter_context(socket.socket())
    while not server.started:
        await asyncio.sleep(0.01)
    peer.connect(listener.getsockname())
    peer.sendall(_HALF % path.encode())
    await asyncio.sleep(0.3)
    tasks = asyncio.all_tasks() - before
    return [seen for task in tasks if (seen := blocked_on(task))]


@pytest.mark.parametrize("http", ["h11", "httptools"])
@pytest.mark.parametrize(
    ("path", "kind", "label"),
    [
        ("/body", "http", "http request body"),
        ("/stream", "http", "http request body"),
        ("/endless", "http", "client disconnect"),
        ("/flood", "http", "http response write"),
        ("/pooled", "executor", "thread"),
        ("/sync_endpoint", "executor", "thread"),
    ],
)
def test_starlette(classify: Any, http: str, path: str, kind: str, label: str) -> None:
    """Each wait of a starlette endpoint under uvicorn has its name."""
    found: list[BlockedOn] = []

    async def call(stack: Stack) -> None:
        found.extend(await _found(stack, path, http, Starlette(routes=_ROUTES)))
        await asyncio.Event().wait()

    classify(call, "event wait")
    assert (kind, label) in {(seen.kind, seen.label) for seen in found}, found
    if path == "/body":
        assert ("event", "lifespan") in {(seen.kind, seen.label) for seen in found}, found


@pytest.mark.parametrize("http", ["h11", "httptools"])
def test_bare_asgi(classify: Any, http: str) -> None:
    """An application that asks the server for more is told from one that waits for itself."""
    found: list[BlockedOn] = []

    async def call(stack: Stack) -> None:
        found.extend(await _found(stack, "/", http, asgi_receive))
        await asyncio.Event().wait()

    classify(call, "event wait")
    sites = {seen.label: seen.site for seen in found}
    assert sites["http body or disconnect"].startswith(f"{__file__}:"), found


def test_middleware_waits_for_the_inner_application(classify: Any) -> None:
    """A middleware's `call_next` is not reported as the channel that it is built from."""
    found: list[BlockedOn] = []

    async def passing(request: Request, call_next: Any) -> Any:
        return await call_next(request)

    async def call(stack: Stack) -> None:
        app = Starlette(
            routes=_ROUTES, middleware=[Middleware(BaseHTTPMiddleware, dispatch=passing)]
        )
        found.extend(await _found(stack, "/pooled", "h11", app))
        await asyncio.Event().wait()

    classify(call, "event wait")
    assert "inner application" in {seen.label for seen in found}, found
