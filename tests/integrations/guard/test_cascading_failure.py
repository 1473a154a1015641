"""A dependency stops answering: without a policy the whole caller fails, with one the rest goes on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

pytestmark = [pytest.mark.real_loop, pytest.mark.slow]

CASCADE = Path(__file__).parent / "cascade.py"
RATE = 200  # requests a second; one in twenty is a checkout
FILLS_S = 5  # by then the 40 places of the unguarded front are taken by checkouts that hang
WATCHED_S = 4


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@contextlib.contextmanager
def serving(role: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Serve one role in a process of its own."""
    port = free_port()
    command = [sys.executable, str(CASCADE), role, str(port), *arguments]
    with subprocess.Popen(command) as process:
        try:
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.kill()


@dataclass
class Seen:
    """What a client saw of one route."""

    ok: int = 0
    failed: int = 0


async def wait_until_it_serves(client: aiohttp.ClientSession, url: str) -> None:
    for _ in range(200):
        with contextlib.suppress(aiohttp.ClientError):
            async with client.get(url) as reply:
                if reply.status == 200:
                    return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{url} does not serve")


async def offer(client: aiohttp.ClientSession, front: str) -> tuple[dict[str, Seen], str]:
    """Offer load, open loop, from when the ledger has stopped; watch the last seconds of it."""
    loop = asyncio.get_running_loop()
    seen = {"/catalogue": Seen(), "/checkout": Seen()}
    began = loop.time()

    async def ask(path: str, watched: bool) -> None:
        good = False
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with client.get(front + path, timeout=aiohttp.ClientTimeout(2)) as reply:
                good = reply.status == 200
        if watched:
            seen[path].ok += good
            seen[path].failed += not good

    asks: list[asyncio.Task[None]] = []
    for number in range(RATE * (FILLS_S + WATCHED_S)):
        due = began + number / RATE
        if due > loop.time():
            await asyncio.sleep(due - loop.time())
        path = "/catalogue" if number % 20 else "/checkout"
        asks.append(asyncio.create_task(ask(path, number >= RATE * FILLS_S)))
    await asyncio.gather(*asks)
    async with client.get(front + "/state", timeout=aiohttp.ClientTimeout(10)) as reply:
        state = await reply.text()
    return seen, state


async def experiment(role: str) -> tuple[dict[str, Seen], str]:
    """Start both services, stop the ledger in its tracks, and offer load."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    with serving("ledger") as (ledger, ledger_url), serving(role, ledger_url) as (_, front):
        async with aiohttp.ClientSession(connector=connector) as client:
            await wait_until_it_serves(client, ledger_url + "/entry")
            await wait_until_it_serves(client, front + "/checkout")
            os.kill(ledger.pid, signal.SIGSTOP)
            try:
                return await offer(client, front)
            finally:
                os.kill(ledger.pid, signal.SIGCONT)


def share_failed(seen: dict[str, Seen]) -> float:
    failed = sum(route.failed for route in seen.values())
    return failed / (failed + sum(route.ok for route in seen.values()))


async def test_one_dependency_that_hangs_does_not_take_the_other_routes_with_it() -> None:
    """The share of failed requests falls by at least nine tenths, in one experiment."""
    naive, _ = await experiment("naive")
    guarded, state = await experiment("guarded")
    assert share_failed(naive) > 0.8, naive
    assert guarded["/catalogue"].failed <= 0.01 * guarded["/catalogue"].ok, guarded
    assert share_failed(guarded) <= 0.1 * share_failed(naive), (naive, guarded)
    assert state in {"open", "half_open"}
