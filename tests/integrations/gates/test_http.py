"""Gates in front of httpx and aiohttp, against a real server."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import httpx
import pytest
from aiohttp import web

from backstay.integrations.gates import gate

pytestmark = [pytest.mark.real_loop, pytest.mark.slow]

PLACES = 3


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[str, list[int]]]:
    """Serve slow answers, and count how many are asked for at once."""
    at_once, most = 0, [0]

    async def slow(request: web.Request) -> web.StreamResponse:
        nonlocal at_once
        at_once += 1
        most[0] = max(most[0], at_once)
        try:
            await asyncio.sleep(0.02)
            return web.Response(text="x" * 100_000)
        finally:
            at_once -= 1

    async def big(request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 20_000_000)

    app = web.Application()
    app.router.add_get("/", slow)
    app.router.add_get("/big", big)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield f"http://127.0.0.1:{port}/", most
    finally:
        await runner.cleanup()


async def test_httpx_holds_a_place_until_the_response_is_closed() -> None:
    """The body counts, too; who is cancelled while it comes gives its place back."""
    limits = httpx.Limits(max_connections=PLACES)
    transport = gate(httpx.AsyncHTTPTransport(limits=limits), name="api", queue=20, target=None)
    assert transport.gate.statistics().limit == PLACES
    async with serving() as (url, most), httpx.AsyncClient(transport=transport) as client:
        replies = await asyncio.gather(*(client.get(url) for _ in range(8)))
        assert {reply.status_code for reply in replies} == {200}
        assert most[0] <= PLACES
        async with client.stream("GET", url) as response:
            assert transport.gate.statistics().in_flight == 1
            (holding,) = transport.gate.holdings()
            assert "test_http.py:" in holding.site
            assert url in holding.what
            await response.aread()
        tasks = [asyncio.create_task(client.get(url)) for _ in range(8)]
        await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert transport.gate.statistics().in_flight == 0
        assert (await client.get(url)).status_code == 200


async def test_a_response_that_nobody_closes_is_named() -> None:
    """What httpx alone would lose without a word is told with its line."""
    transport = gate(httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=1)), name="api")
    async with serving() as (url, _), httpx.AsyncClient(transport=transport) as client:

        async def forgets() -> Any:
            request = client.build_request("GET", url)
            return await client.send(request, stream=True)

        kept = await asyncio.create_task(forgets())
        assert [leak.orphaned for leak in transport.gate.leaks()] == [True]
        await kept.aclose()
        assert transport.gate.holdings() == ()


async def test_aiohttp_hands_connections_out_in_turn() -> None:
    """Also when requests are cancelled, or the response is read late."""
    connector = gate(aiohttp.TCPConnector(limit=PLACES), name="api", queue=20, target=None)
    async with serving() as (url, most), aiohttp.ClientSession(connector=connector) as client:

        async def ask() -> int:
            async with client.get(url) as reply:
                return len(await reply.read())

        assert await asyncio.gather(*(ask() for _ in range(8))) == [100_000] * 8
        assert most[0] <= PLACES
        async with client.get(f"{url}big") as reply:
            (holding,) = connector.gate.holdings()
            assert "test_http.py:" in holding.site
            await reply.read()
        assert connector.gate.statistics().in_flight == 0
        tasks = [asyncio.create_task(ask()) for _ in range(8)]
        await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        gc.collect()
        assert connector.gate.statistics().in_flight == 0
        assert connector.gate.statistics().wait.count > 0
