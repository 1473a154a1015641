"""The end of the chain: notes what was bought. Quick, until somebody stops its process."""

from __future__ import annotations

import asyncio

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route


async def note(request: Request) -> PlainTextResponse:
    """Take an entry."""
    await asyncio.sleep(0.005)  # a disk
    return PlainTextResponse("noted")


async def ready(request: Request) -> PlainTextResponse:
    """Say that it may be asked."""
    return PlainTextResponse("ready")


app = Starlette(routes=[Route("/entries", note, methods=["POST"]), Route("/readyz", ready)])
