"""The HTTP face of the order service, asked as a server would ask it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from shop.business.orders import MAX_BODY, Wish
from shop.order import web
from shop.order.book import Reply
from starlette.applications import Starlette

GOOD = b'{"customer": "ann", "lines": [{"sku": "winch", "quantity": 2}]}'


@asynccontextmanager
async def no_lifespan(app: Starlette) -> AsyncIterator[None]:
    """Nothing to open."""
    yield


def app_of(seen: list[object]) -> Starlette:
    """An app whose business writes down what it is asked."""

    async def checkout(wish: Wish, key: str, digest: str) -> Reply:
        seen.append((wish.customer, key, digest))
        return Reply(201, b'{"id": "a"}')

    async def read(order_id: str) -> Reply:
        seen.append(("read", order_id))
        return Reply(200, b"{}")

    async def cancel(order_id: str) -> Reply:
        seen.append(("cancel", order_id))
        return Reply(202, b"{}")

    return web.build(checkout, read, cancel, no_lifespan)


async def ask(
    method: str, path: str, parts: Iterable[bytes] = (b"",), key: str | None = "k1"
) -> tuple[int, bytes, list[object]]:
    """Send one request in parts; the status, the body and what the business saw."""
    seen: list[object] = []
    waiting = list(parts)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        body = waiting.pop(0) if waiting else b""
        return {"type": "http.request", "body": body, "more_body": bool(waiting)}

    async def send(message: Any) -> None:
        sent.append(dict(message))

    headers = [] if key is None else [(b"idempotency-key", key.encode())]
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": headers,
        "query_string": b"",
        "http_version": "1.1",
        "scheme": "http",
        "server": ("127.0.0.1", 80),
        "root_path": "",
    }
    await app_of(seen)(scope, receive, send)
    return sent[0]["status"], b"".join(each.get("body", b"") for each in sent[1:]), seen


async def test_a_create_reaches_the_business_with_key_and_fingerprint() -> None:
    """The body may come in parts."""
    status, body, seen = await ask("POST", "/orders", [GOOD[:9], GOOD[9:]])
    assert (status, body) == (201, b'{"id": "a"}')
    assert seen[0] is not None
    again = (await ask("POST", "/orders", [GOOD]))[2]
    assert seen == again


async def test_reads_and_cancels_reach_the_business() -> None:
    """The id comes from the path."""
    assert (await ask("GET", "/orders/a1"))[::2] == (200, [("read", "a1")])
    assert (await ask("POST", "/orders/a1/cancel"))[::2] == (202, [("cancel", "a1")])
    assert (await ask("GET", "/readyz"))[0] == 200


@pytest.mark.parametrize(
    ("parts", "key"),
    [([b"no"], "k1"), ([GOOD], None), ([GOOD], ""), ([b"x" * MAX_BODY, b"x" * MAX_BODY], "k1")],
)
async def test_a_bad_create_is_a_400_with_a_sentence(parts: list[bytes], key: str | None) -> None:
    """The business is not bothered."""
    status, body, seen = await ask("POST", "/orders", parts, key)
    document = json.loads(body)
    assert (status, document["error"], seen) == (400, "bad_order", [])
    assert document["message"]


async def test_other_methods_and_paths_are_not_served() -> None:
    """405 and 404, as HTTP has it."""
    assert (await ask("DELETE", "/orders/a"))[0] == 405
    assert (await ask("GET", "/nothing"))[0] == 404
