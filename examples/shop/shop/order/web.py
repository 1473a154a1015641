"""The HTTP face of the order service: Starlette routes, shared by both variants.

A variant brings its checkout, its cancel and its lifespan; parsing, replies and errors are here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shop.business.orders import MAX_BODY, OrderRefused, Wish, check_key, fingerprint, parse
from shop.order.book import Reply, refuse

Checkout = Callable[[Wish, str, str], Awaitable[Reply]]
"""(wish, idempotency key, fingerprint of the body) -> the reply."""
ById = Callable[[str], Awaitable[Reply]]
"""order id -> the reply."""
Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


def build(checkout: Checkout, read: ById, cancel: ById, lifespan: Lifespan) -> Starlette:
    """Put the routes of the order service together.

    Args:
        checkout: accepts an order.
        read: looks an order up.
        cancel: cancels an order.
        lifespan: opens and closes what the three need.

    Returns:
        The ASGI application.
    """

    async def create(request: Request) -> Response:
        try:
            key = check_key(request.headers.get("idempotency-key"))
            body = await _body(request)
            return _answer(await checkout(parse(body), key, fingerprint(body)))
        except OrderRefused as error:
            return _answer(refuse(400, "bad_order", str(error)))

    async def show(request: Request) -> Response:
        return _answer(await read(_order_id(request)))

    async def withdraw(request: Request) -> Response:
        return _answer(await cancel(_order_id(request)))

    async def ready(request: Request) -> Response:
        return Response(b"ready\n", media_type="text/plain")

    return Starlette(
        routes=[
            Route("/orders", create, methods=["POST"]),
            Route("/orders/{order_id}", show, methods=["GET"]),
            Route("/orders/{order_id}/cancel", withdraw, methods=["POST"]),
            Route("/readyz", ready, methods=["GET"]),
        ],
        lifespan=lifespan,
    )


async def _body(request: Request) -> bytes:
    # Counted while it arrives: a body of gigabytes must not be collected before it is refused.
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY:
            raise OrderRefused(f"body is larger than {MAX_BODY} bytes")
        parts.append(part)
    return b"".join(parts)


def _order_id(request: Request) -> str:
    params: dict[str, Any] = request.path_params
    return str(params["order_id"])


def _answer(reply: Reply) -> Response:
    return Response(reply.body, reply.status, media_type="application/json")
