"""A handler sets things up, and leaves the clean-up to a generator that may never start.

The client leaves before the body begins. A generator that was never started has no `finally` to run,
so the pump that the handler started goes on. Real: `starlette`, behind Backstay's ASGI guard.

Cases: stemdeck#513, taOS#2309.
Cure: set up inside of the generator, where the clean-up is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from corpus_stage import Expect, Stage
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from backstay.integrations.asgi import guard

# The guard gives each request a deadline, which has passed as well when somebody looks.
EXPECT = (Expect("ORPHAN", count=3), Expect("OVERDUE", count=3))


async def pump(frames: asyncio.Queue[bytes]) -> None:
    while True:
        await asyncio.sleep(0.005)  # leak: waits
        if frames.qsize() < 5:
            frames.put_nowait(b"frame")


async def stream(request: Request) -> StreamingResponse:
    frames: asyncio.Queue[bytes] = asyncio.Queue()
    pumping = asyncio.create_task(pump(frames))  # leak: spawn

    async def body() -> AsyncIterator[bytes]:
        try:
            while True:
                yield await frames.get()
        finally:
            pumping.cancel()

    return StreamingResponse(body())


async def stream_cured(request: Request) -> StreamingResponse:
    async def body() -> AsyncIterator[bytes]:
        frames: asyncio.Queue[bytes] = asyncio.Queue()
        pumping = asyncio.create_task(pump(frames))
        try:
            while True:
                yield await frames.get()
        finally:
            pumping.cancel()

    return StreamingResponse(body())


async def visit(stage: Stage, endpoint: Any) -> None:
    app = guard(Starlette(routes=[Route("/stream", endpoint)]))
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "path": "/stream",
        "raw_path": b"/stream",
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": [],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    told = False

    async def receive() -> dict[str, Any]:
        nonlocal told
        if told:
            return {"type": "http.disconnect"}
        told = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        raise OSError("the client has left")

    for _ in range(3):
        told = False
        try:
            await app(dict(scope), receive, send)
        except Exception:
            pass  # what the server logs
    await stage.settle()


async def leak(stage: Stage) -> None:
    await visit(stage, stream)


async def fix(stage: Stage) -> None:
    await visit(stage, stream_cured)
