"""The middle of the chain: a catalogue that needs nobody, and a checkout that needs the ledger.

Both need a connection to the database, of which there are twenty. `naive` holds one for as long
as the ledger takes, as code does that opens a transaction and calls somebody within it.
`guarded` is the same code with a policy around the call: at most 20 at a time, 800 ms each, and
a breaker that stops asking.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from os import environ
from random import Random

import aiohttp
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from backstay.errors import DeadlineExceeded, Rejected
from backstay.guard import Breaker, Bulkhead, Policy

CONNECTIONS = 20

Call = Callable[[], Awaitable[str]]


class Orders:
    """The three things that can be asked for."""

    session: aiohttp.ClientSession

    def __init__(self, guard: Policy | None) -> None:
        self.guard = guard
        self.database = asyncio.Semaphore(CONNECTIONS)
        self.dice = Random(3)
        self.ledger = environ.get("SHOP_LEDGER", "http://127.0.0.1:1")

    async def catalogue(self, request: Request) -> Response:
        """List what there is."""
        async with self.database:
            await self.query()
        return PlainTextResponse("tea, mugs, spoons")

    async def checkout(self, request: Request) -> Response:
        """Buy: note it in the database and in the ledger, in one transaction."""
        async with self.database:
            await self.query()
            try:
                said = await (self.note() if self.guard is None else self.guard.call(self.note))
            except (Rejected, DeadlineExceeded, aiohttp.ClientError) as error:
                why = f"the ledger cannot be asked: {type(error).__name__}"
                return PlainTextResponse(why, 503)
        return PlainTextResponse(said, 201)

    async def query(self) -> None:
        """Ask the database, which takes its time."""
        await asyncio.sleep(0.002 + 0.002 * self.dice.random())

    async def note(self) -> str:
        """Have the ledger take an entry."""
        async with self.session.post(f"{self.ledger}/entries") as reply:
            reply.raise_for_status()
            return await reply.text()

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncGenerator[None, None]:
        """Keep one HTTP client, without a time-out of its own, as it comes out of the box."""
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(timeout=timeout) as self.session:
            yield


async def ready(request: Request) -> Response:
    """Say that it may be asked."""
    return PlainTextResponse("ready")


def _app(guard: Policy | None) -> Starlette:
    orders = Orders(guard)
    return Starlette(
        routes=[
            Route("/catalogue", orders.catalogue),
            Route("/checkout", orders.checkout, methods=["POST"]),
            Route("/readyz", ready),
        ],
        lifespan=orders.lifespan,
    )


naive = _app(None)
guarded = _app(
    Policy("ledger", attempt=0.8, breaker=Breaker("ledger"), bulkhead=Bulkhead(20, name="ledger"))
)
loose = _app(Policy("ledger", attempt=60.0, bulkhead=Bulkhead(10_000, name="ledger")))
"""A policy that protects nobody, for the test of the verdict."""
