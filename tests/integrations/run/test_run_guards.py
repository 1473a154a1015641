"""`backstay ps --guards` against a real process."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from real_processes import Command, Start, document, in_background

pytestmark = pytest.mark.slow

GUARDED = """
import asyncio, time
from backstay.errors import OpenError
from backstay.guard import Breaker, Bulkhead, KeyedRate, Policy
from web import app as plain

bank = Breaker("bank")
orders = Policy("orders", bulkhead=Bulkhead(20, name="places"), attempt=0.8)
tokens = KeyedRate(5, name="by token", mode="shadow")
tokens.try_acquire("secret-token")

@bank
async def charge(): pass

async def app(scope, receive, send):
    if scope.get("path") == "/trip":
        bank.force_open("drill")
        try:
            await charge()
        except OpenError: pass
    await plain(scope, receive, send)
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_guards_of_an_application(
    start: Start, backstay: Command, room: Path, loop: str
) -> None:
    """Their state as a table and as JSON, also while the loop is blocked, and no key of a caller."""
    (room / "guarded.py").write_text(GUARDED)
    process = start(
        "run",
        "guarded:app",
        "--port",
        "0",
        "--admin",
        "own.sock",
        "--lame-duck",
        "0",
        "--loop",
        loop,
    )
    assert process.get("/")[0] == 200
    found = {
        (g["kind"], g["name"]): g
        for g in document(backstay("ps", "own.sock", "--guards", "--json"))["guards"]
    }
    assert found["breaker", "bank"]["state"] == "closed"
    assert found["keyed rate", "by token"]["mode"] == "shadow"
    assert found["policy", "orders"]["statistics"]["attempts"] == 0
    process.get("/trip")
    blocked = in_background(lambda: process.get("/block/3"))
    process.wait_for("at /block/3")
    begun = time.monotonic()
    shown = backstay("ps", "own.sock", "--guards")
    assert time.monotonic() - begun < 2.5
    assert (shown.returncode, shown.stderr) == (0, "")
    (line,) = [line.split() for line in shown.stdout.splitlines() if line.startswith("breaker")]
    assert line[1:5] == ["bank", "enforce", "forced_open", "1"]
    assert blocked() == (200, "ok")
    shown = backstay("ps", "own.sock", "--guards")
    assert "secret" not in shown.stdout
    process.signal(signal.SIGTERM)
    assert process.end() == 0


@pytest.mark.parametrize("flag", ["--tree", "--stacks"])
def test_flags_that_have_no_guards(backstay: Command, flag: str) -> None:
    """One line, exit code 2, before anybody is asked."""
    done = backstay("ps", "1", "--guards", flag)
    assert done.returncode == 2
    assert "--guards" in done.stderr
    assert done.stderr.count("\n") == 1
