"""Unmodified applications from the package index under `backstay run`."""

from __future__ import annotations

import signal
import time

import pytest
from real_processes import Command, Start, document, in_background

pytestmark = pytest.mark.slow


def test_httpbinx_is_served_guarded_and_explained(start: Start, backstay: Command) -> None:
    """FastAPI, middleware, 80 routes: `ps` names its own line and the request it works for."""
    pytest.importorskip("httpbinx")
    process = start("run", "httpbinx.main:app", "--port", "0", "--lame-duck", "0")
    assert process.get("/get")[0] == 200
    assert process.get("/status/418")[0] == 418
    assert process.get("/readyz") == (200, "ready\n"), "it has no readiness of its own"
    slow = in_background(lambda: process.get("/delay/3"))
    until = time.monotonic() + 10
    waiting: list[dict[str, str]] = []
    while not waiting:
        assert time.monotonic() < until
        groups = document(backstay("ps", str(process.pid), "--json"))["groups"]
        waiting = [one for one in groups if "httpbinx" in (one["blocked_on"] or "")]
    (one,) = waiting
    assert one["blocked_on"].startswith("sleep")
    assert "httpbinx/routers/" in one["blocked_on"]
    assert "uvicorn/protocols/http/" in one["site"]
    assert (one["kind"], one["owner"]) == ("request", "GET /delay/{id}")
    process.signal(signal.SIGTERM)
    status, body = slow()
    assert status == 200
    assert '"headers"' in body
    assert process.end() == 0


@pytest.mark.parametrize("flags", [(), ("--observe",)])
def test_an_application_of_prometheus_client_is_made_by_its_factory(
    start: Start, backstay: Command, flags: tuple[str, ...]
) -> None:
    """A bare ASGI function without lifespan; with and without protection."""
    pytest.importorskip("prometheus_client")
    target = "prometheus_client:make_asgi_app"
    process = start("run", *flags, "--factory", target, "--port", "0", "--lame-duck", "0")
    status, body = process.get("/metrics")
    assert status == 200
    assert "python_info" in body
    shown = backstay("ps", str(process.pid), "--tree")
    assert shown.returncode == 0, shown.stderr
    assert target in shown.stdout
    process.signal(signal.SIGTERM)
    assert process.end() == 0
