"""Two real services, one of which calls the other: ``python cascade.py ledger|naive|guarded PORT [LEDGER]``.

The front serves a catalogue by itself, and a checkout that needs the ledger. Its server lets in
40 requests at a time, as servers are set up so that they do not run out of memory.
"""

from __future__ import annotations

import sys
from typing import Any

import aiohttp
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from backstay.errors import DeadlineExceeded, Rejected
from backstay.guard import Breaker, Bulkhead, Policy

AT_ONCE = 40


def ledger() -> Starlette:
    """Answer at once."""

    async def entry(request: Request) -> PlainTextResponse:
        return PlainTextResponse("noted")

    return Starlette(routes=[Route("/entry", entry)])


def front(ledger_url: str, *, guarded: bool) -> Starlette:
    """Serve a catalogue and a checkout."""
    sessions: list[aiohttp.ClientSession] = []
    policy = Policy(
        "ledger",
        attempt=0.8,
        breaker=Breaker("ledger", open_for=1.0),
        bulkhead=Bulkhead(20, 0, name="ledger"),
    )

    async def ask() -> str:
        if not sessions:
            sessions.append(aiohttp.ClientSession())
        async with sessions[0].get(f"{ledger_url}/entry") as reply:
            return await reply.text()

    async def checkout(request: Request) -> PlainTextResponse:
        if not guarded:
            return PlainTextResponse(await ask())
        try:
            return PlainTextResponse(await policy.call(ask))
        except (Rejected, DeadlineExceeded, aiohttp.ClientError) as error:
            return PlainTextResponse(f"no ledger: {type(error).__name__}", 503)

    async def catalogue(request: Request) -> PlainTextResponse:
        return PlainTextResponse("tea, mugs")

    async def state(request: Request) -> PlainTextResponse:
        return PlainTextResponse(policy.parts[0].statistics().state)  # type: ignore[attr-defined]

    return Starlette(
        routes=[
            Route("/checkout", checkout),
            Route("/catalogue", catalogue),
            Route("/state", state),
        ]
    )


def main(role: str, port: str, ledger_url: str = "") -> None:
    """Serve until killed."""
    app: Any = ledger() if role == "ledger" else front(ledger_url, guarded=role == "guarded")
    limit = None if role == "ledger" else AT_ONCE
    uvicorn.run(
        app, port=int(port), log_level="critical", access_log=False, limit_concurrency=limit
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
