"""The door of the chain: hands everything on to the orders, over a hundred connections."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from os import environ

import aiohttp
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route


class Front:
    """Hands requests on."""

    session: aiohttp.ClientSession

    def __init__(self) -> None:
        self.orders = environ.get("SHOP_ORDERS", "http://127.0.0.1:1")

    async def hand_on(self, request: Request) -> Response:
        """Ask the orders, and answer what they answer."""
        url = f"{self.orders}{request.url.path}"
        async with self.session.request(request.method, url) as reply:
            return Response(await reply.read(), reply.status)

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncGenerator[None, None]:
        """Keep one HTTP client, as it comes out of the box: 100 connections, five minutes."""
        async with aiohttp.ClientSession() as self.session:
            yield


async def ready(request: Request) -> Response:
    """Say that it may be asked."""
    return PlainTextResponse("ready")


front = Front()
app = Starlette(
    routes=[
        Route("/catalogue", front.hand_on),
        Route("/checkout", front.hand_on, methods=["POST"]),
        Route("/readyz", ready),
    ],
    lifespan=front.lifespan,
)
