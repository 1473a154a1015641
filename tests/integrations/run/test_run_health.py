"""`backstay run` with an application that has a `Health`: the probes, and the admin plane while the loop is blocked."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from real_processes import Start, in_background

from backstay.observe.admin import AdminClient

pytestmark = pytest.mark.slow

HEALTHY = """
import pathlib
import web
from backstay.lifecycle import Health

def _look():
    if not pathlib.Path("database").exists(): raise ConnectionError("no database at postgres://shop:hunter2@db/shop")

async def look(): _look()
async def cold(): raise OSError("cold")

health = Health("shop")
health.add("database", look, interval=0.1, fail_after=2, recover_after=2)
health.add("cache", cold, critical=False, interval=0.1, fail_after=1)

async def app(scope, receive, send):
    if scope["type"] != "lifespan": return await web.app(scope, receive, send)
    async with health: await web.app(scope, receive, send)
"""

RUN = ("run", "healthy:app", "--port", "0", "--admin", "admin.sock", "--lame-duck", "0.5")


def until(wanted: Any, ask: Any) -> Any:
    """Ask until the status is the wanted one."""
    end = time.monotonic() + 15
    while (found := ask())[0] != wanted:
        assert time.monotonic() < end, found
        time.sleep(0.02)
    return found


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_probes_of_an_application_with_a_health(start: Start, room: Path, loop: str) -> None:
    """Not ready before its database is up, ready with a cold cache, away and back; alive all the time."""
    (room / "healthy.py").write_text(HEALTHY)
    process = start(*RUN, "--loop", loop)
    admin = AdminClient(str(room / "admin.sock"))
    status, body = until(503, lambda: process.get("/readyz"))
    assert "database" in body
    until(503, lambda: process.get("/healthz"))
    (room / "database").touch()
    until(200, lambda: process.get("/readyz"))
    status, body = process.get("/healthz")
    found = json.loads(body)
    assert (status, found["state"], found["checks"]["cache"]["error"]) == (
        200,
        "degraded",
        "OSError: cold",
    )
    assert admin.get("/healthz")["checks"]["database"]["state"] == "up"
    (room / "database").unlink()
    status, body = until(503, lambda: process.get("/healthz"))
    assert (
        json.loads(body)["checks"]["database"]["error"]
        == "ConnectionError: no database at postgres://***@db/shop"
    )
    assert process.get("/readyz") == (503, "database down\n")
    assert process.get("/livez") == (200, "alive\n")
    (room / "database").touch()
    until(200, lambda: process.get("/readyz"))
    process.signal(signal.SIGTERM)
    until(503, lambda: process.get("/readyz"))
    assert json.loads(process.get("/healthz")[1])["state"] == "draining"
    assert process.end() == 0


def test_the_admin_plane_answers_while_the_loop_is_blocked(start: Start, room: Path) -> None:
    """Nobody can answer on the port; the plane tells how old the answers are, and how long the loop is away."""
    (room / "healthy.py").write_text(HEALTHY)
    (room / "database").touch()
    process = start(*RUN)
    admin = AdminClient(str(room / "admin.sock"))
    until(200, lambda: process.get("/readyz"))
    reply = in_background(lambda: process.get("/block/2.5"))
    process.wait_for("at /block/2.5")
    time.sleep(1.5)
    found = admin.get("/healthz")
    assert found["checks"]["database"]["checked_s_ago"] > 1.0
    assert admin.get("/livez")["loop_lag_s"] >= 0.0
    assert reply()[0] == 200
