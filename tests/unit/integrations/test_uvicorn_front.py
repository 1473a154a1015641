"""The outermost layer under `backstay run`: probes and the polite farewell."""

from __future__ import annotations

import asyncio
import json
from collections.abc import MutableMapping
from typing import Any

import pytest

pytest.importorskip("uvicorn")

from backstay.integrations.uvicorn import Front
from backstay.lifecycle import Health, Readiness

Message = MutableMapping[str, Any]


def application(status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": [*headers]})
        await send({"type": "http.response.body", "body": b"app"})

    return app


async def ask(front: Front, path: str, **scope: Any) -> tuple[int, bytes, dict[bytes, bytes]]:
    """Return status, body and headers of one request."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await front({"type": "http", "path": path, "http_version": "1.1", **scope}, None, send)
    body = b"".join(message["body"] for message in sent[1:])
    return sent[0]["status"], body, dict(sent[0]["headers"])


def ready() -> Readiness:
    readiness = Readiness()
    readiness.succeed()
    return readiness


async def test_liveness_asks_nobody() -> None:
    """It answers also while starting and draining: the loop came round."""
    front = Front(application(500), Readiness())
    assert (await ask(front, "/livez"))[:2] == (200, b"alive\n")


async def test_readiness_follows_the_flag() -> None:
    """Starting, ready, draining."""
    readiness = Readiness()
    front = Front(application(404), readiness)
    assert (await ask(front, "/readyz"))[:2] == (503, b"starting\n")
    readiness.succeed()
    assert (await ask(front, "/readyz"))[:2] == (200, b"ready\n")
    readiness.drain("draining")
    assert (await ask(front, "/readyz"))[:2] == (503, b"draining\n")


async def test_an_applications_own_readiness_has_the_say() -> None:
    """It knows its database; it is asked past the guard, which may be full."""
    for status in (200, 503):
        front = Front(application(429), ready(), bare=application(status))
        assert (await ask(front, "/readyz"))[:2] == (status, b"app")


async def test_other_paths_go_to_the_application_untouched() -> None:
    """While serving nothing is added."""
    front = Front(application(headers=((b"x", b"y"),)), ready())
    assert await ask(front, "/") == (200, b"app", {b"x": b"y"})


async def test_while_draining_clients_are_asked_to_leave() -> None:
    """Whatever the application says about its connection."""
    readiness = ready()
    front = Front(application(headers=((b"Connection", b"keep-alive"),)), readiness)
    readiness.drain("draining")
    assert (await ask(front, "/"))[2] == {b"connection": b"close"}
    assert (await ask(front, "/", http_version="2"))[2] == {b"Connection": b"keep-alive"}


async def test_other_protocols_pass_through() -> None:
    """Lifespan and websocket are none of its business."""
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    for kind in ("lifespan", "websocket"):
        await Front(app, Readiness())({"type": kind, "path": "/livez"}, None, print)  # type: ignore[arg-type]
    assert seen == ["lifespan", "websocket"]


async def test_probes_can_be_switched_off() -> None:
    """Then the paths belong to the application."""
    front = Front(application(404), ready(), livez=None, readyz=None)
    assert (await ask(front, "/livez"))[0] == (await ask(front, "/readyz"))[0] == 404


async def test_a_health_that_runs_has_a_say_and_a_page() -> None:
    """Its critical dependencies hold the readiness back; /healthz tells of each; liveness does not depend on it."""
    up = False

    async def database() -> str:
        if not up:
            raise ConnectionError("redis://:hunter2@cache:6379")
        return "3 of 10 lent"

    front = Front(application(404), ready())
    assert (await ask(front, "/healthz"))[0] == 404, "without a Health it is the application's"
    health = Health()
    health.add("database", database, interval=1.0, fail_after=2)
    async with health:
        await asyncio.sleep(2)
        assert (await ask(front, "/readyz"))[:2] == (503, b"database down\n")
        status, body, headers = await ask(front, "/healthz")
        found = json.loads(body)
        assert (status, headers[b"content-type"]) == (503, b"application/json")
        assert (found["state"], found["ready"]) == ("down", False)
        assert found["checks"]["database"]["error"] == "ConnectionError: redis://***@cache:6379"
        assert (await ask(front, "/livez"))[0] == 200
        up = True
        await asyncio.sleep(4)
        assert (await ask(front, "/readyz"))[:2] == (200, b"ready\n")
        status, body, _ = await ask(front, "/healthz")
        assert (status, json.loads(body)["checks"]["database"]["detail"]) == (200, "3 of 10 lent")
        no_page = Front(application(404), ready(), healthz=None)
        assert (await ask(no_page, "/healthz"))[0] == 404
