"""httpx, httpx2 and aiohttp through a policy, against a real server that fails in every way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
from aiohttp import web

import backstay
from backstay.errors import DeadlineExceeded, ExpiredError, OpenError
from backstay.guard import Breaker, Budget, Bulkhead, Policy, Retry
from backstay.integrations.aiohttp import policy_middleware
from backstay.integrations.httpx import PolicyTransport
from backstay.integrations.httpx2 import PolicyTransport as PolicyTransport2

pytestmark = [pytest.mark.real_loop, pytest.mark.slow]

Ask = Callable[..., Awaitable[tuple[int, str]]]


class Server:
    """Answers as the test says, and notes what it was asked."""

    def __init__(self) -> None:
        self.seen: list[web.Request] = []
        self.answers: list[Any] = []
        self.bodies: list[bytes] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        self.bodies.append(await request.read())
        answer = self.answers.pop(0) if self.answers else 200
        if answer == "hang":
            await asyncio.sleep(60)
        if answer == "reset":
            assert request.transport is not None
            request.transport.abort()
        if answer == "cut":
            response = web.StreamResponse(headers={"content-length": "100"})
            await response.prepare(request)
            await response.write(b"half")
            assert request.transport is not None
            request.transport.abort()
            return response
        status, headers = answer if isinstance(answer, tuple) else (answer, {})
        status = status if isinstance(status, int) else 200
        return web.Response(status=status, headers=headers, text=f"answer {len(self.seen)}")


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    try:
        yield server
    finally:
        await runner.cleanup()


@asynccontextmanager
async def client_of(library: str, policy: Any, **options: Any) -> AsyncIterator[Ask]:
    """Return a function that asks by one of the libraries."""
    if library == "aiohttp":
        middleware = policy_middleware(policy, **options)
        async with aiohttp.ClientSession(middlewares=[middleware]) as session:

            async def ask(method: str, url: str, **more: Any) -> tuple[int, str]:
                async with session.request(method, url, **more) as reply:
                    return reply.status, await reply.text()

            yield ask
        return
    made: Any = {"httpx": (httpx, PolicyTransport), "httpx2": (httpx2, PolicyTransport2)}[library]
    module, transport = made
    async with module.AsyncClient(transport=transport(policy, **options)) as client:

        async def ask_by_httpx(method: str, url: str, **more: Any) -> tuple[int, str]:
            if "data" in more:
                more["content"] = more.pop("data")
            reply = await client.request(method, url, **more)
            return reply.status_code, reply.text

        yield ask_by_httpx


def policy_of(**parts: Any) -> Policy:
    parts.setdefault("retry", Retry(3, first=0.001, budget=Budget(1.0)))
    return Policy("dependency", **parts)


every = pytest.mark.parametrize("library", ["httpx", "httpx2", "aiohttp"])


@every
async def test_what_may_be_repeated_is_tried_again(library: str) -> None:
    """No answer, half of one, a 503: the last attempt's answer is the caller's."""
    policy = policy_of()
    async with serving() as server, client_of(library, policy) as ask:
        for trouble in ([503, 500], ["reset", 429], ["cut"], [(503, {"Retry-After": "0"})]):
            server.seen.clear()
            server.answers = list(trouble)
            status, text = await ask("GET", server.url)
            assert (status, text) == (200, f"answer {len(trouble) + 1}"), trouble
        server.answers, server.bodies = [503], []
        assert (await ask("PUT", server.url, data=b"again"))[0] == 200
        assert server.bodies == [b"again", b"again"]
        server.answers = [500, 500, 500]
        assert (await ask("GET", server.url))[0] == 500, "the last answer, and no error"


@every
async def test_what_may_not_be_repeated_is_made_once(library: str) -> None:
    """A POST without a key, a 404, and an answer that says that time is over."""
    policy = policy_of(breaker=Breaker("dependency"))
    async with serving() as server, client_of(library, policy) as ask:
        server.answers = [503]
        assert (await ask("POST", server.url, data=b"x"))[0] == 503
        server.answers = [503]
        key = {"Idempotency-Key": "k"}
        assert (await ask("POST", server.url, data=b"x", headers=key))[0] == 200
        server.answers = [404]
        assert (await ask("GET", server.url))[0] == 404
        server.answers = [(504, {"Backstay-Deadline": "expired"})]
        assert (await ask("GET", server.url))[0] == 504
        assert len(server.seen) == 5
        seen = policy.parts[1].statistics()
        assert seen.failed == 2  # type: ignore[attr-defined]


@every
async def test_a_breaker_learns_from_answers_and_from_none(library: str) -> None:
    """Refused connections, hangs and 500s open it; then no request is made."""
    breaker = Breaker("dependency", minimum=3, open_for=60)
    policy = Policy("dependency", attempt=0.1, breaker=breaker, bulkhead=Bulkhead(2))
    async with serving() as server, client_of(library, policy) as ask:
        server.answers = [500, "hang"]
        assert (await ask("GET", server.url))[0] == 500
        with pytest.raises(DeadlineExceeded):
            await ask("GET", server.url)
        with pytest.raises((httpx.ConnectError, httpx2.ConnectError, aiohttp.ClientError)):
            await ask("GET", "http://127.0.0.1:1/")
        with pytest.raises(OpenError):
            await ask("GET", server.url)
        assert len(server.seen) == 2
        assert policy.parts[-1].statistics().in_flight == 0  # type: ignore[attr-defined]


@every
async def test_deadline_and_trace_travel(library: str) -> None:
    """The server is told what is left; without any time no request is made."""
    async with serving() as server, client_of(library, policy_of(), margin=0.1) as ask:
        async with backstay.timeout(1.0):
            await ask("GET", server.url)
        left = int(server.seen[0].headers["Backstay-Timeout-Ms"])
        assert 500 < left <= 900
        assert "traceparent" not in server.seen[0].headers
        with pytest.raises(ExpiredError):
            async with backstay.timeout(0.05):
                await ask("GET", server.url)
        assert len(server.seen) == 1


@every
async def test_a_caller_that_goes_away_leaves_no_place_taken(library: str) -> None:
    """Cancelled in the attempt, or in the pause before the next."""
    bulkhead = Bulkhead(1)
    policy = policy_of(
        bulkhead=bulkhead, retry=Retry(3, first=60, most=60, budget=Budget(1.0), seed=1)
    )
    async with serving() as server, client_of(library, policy) as ask:
        for answers in (["hang"], [503]):
            server.answers = list(answers)
            task = asyncio.ensure_future(ask("GET", server.url))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert bulkhead.statistics().in_flight == 0
        assert (await ask("GET", server.url))[0] == 200


@every
async def test_a_function_chooses_the_policy(library: str) -> None:
    """By host, by path; None lets a request pass unguarded."""
    closed = Policy("closed", breaker=Breaker("closed"))
    closed.force_open("test")

    def choose(request: Any) -> Policy | None:
        return closed if "guarded" in str(request.url) else None

    async with serving() as server, client_of(library, choose) as ask:
        assert (await ask("GET", f"{server.url}free"))[0] == 200
        with pytest.raises(OpenError):
            await ask("GET", f"{server.url}guarded")


@pytest.mark.parametrize("module", [httpx, httpx2])
async def test_a_body_may_be_streamed(module: Any) -> None:
    """With `read=False` an attempt ends with the head, and the body comes as ever."""
    made: Any = PolicyTransport if module is httpx else PolicyTransport2
    transport = made(policy_of(bulkhead=Bulkhead(1)), read=False)
    async with (
        serving() as server,
        module.AsyncClient(transport=transport) as client,
        client.stream("GET", server.url) as reply,
    ):
        assert (await client.get(server.url)).text == "answer 2", "the place is free again"
        assert await reply.aread() == b"answer 1"
