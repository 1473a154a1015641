"""A service that has secrets everywhere a service has them: run by the tests under `backstay run`."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from pathlib import Path

import httpx

from backstay import Channel, Scope
from backstay.context import Key, bind
from backstay.guard import Breaker, KeyedRate
from backstay.integrations.opentelemetry import span
from backstay.lifecycle import Health

SECRET = os.environ["PAYMENTS_TOKEN"]
ADDRESS = f"https://shop:{SECRET}@bank.example/v1?token={SECRET}"
breaker = Breaker("payments", minimum=2)
rate = KeyedRate(1000.0, name="customers")
IDENTITY = Key[str]("identity", secret=True)
orders: asyncio.Queue[str] = asyncio.Queue()


class LoginFailed(Exception):
    """Says more than it should, as errors do."""


async def log_in(password: str) -> None:
    """Fail with the secret in the error."""
    raise LoginFailed(f"cannot log in at {ADDRESS} with password={password}")


async def look_for_orders(password: str) -> None:
    """Wait, with secrets in local variables."""
    credentials = {"api_key": password, "user": "shop"}
    header = f"Authorization: Bearer {password}"
    while True:
        await asyncio.sleep(0.05)
        number = len(credentials) + len(header)  # probed
        del number


async def ask_a_server_that_hangs(port: int) -> None:
    """Wait for an answer to a request with secrets in its address and header."""
    async with httpx.AsyncClient() as client:
        await client.get(
            f"http://shop:{SECRET}@127.0.0.1:{port}/pay?api_key={SECRET}",
            headers={"Authorization": f"Bearer {SECRET}", "Cookie": f"session_id={SECRET}"},
            timeout=3600,
        )


async def wait(what: str) -> None:
    """Wait for good, with a secret as argument."""
    with bind(IDENTITY, SECRET), span("wait", {"token": SECRET, "http.url": ADDRESS}):
        await orders.get()
    raise LoginFailed(what)


async def check_bank() -> None:
    """Fail a health check with the secret in the error."""
    await log_in(SECRET)


async def main() -> None:
    """Start everything, and stay."""
    hanging = await asyncio.start_server(lambda reader, writer: asyncio.sleep(3600), "127.0.0.1", 0)
    port = hanging.sockets[0].getsockname()[1]
    threading.Thread(
        target=time.sleep, args=(3600,), name=f"poll token={SECRET}", daemon=True
    ).start()
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 30)
    kept: list[asyncio.Task[None]] = []
    channel: Channel[str] = Channel(1)
    await channel.send(SECRET)
    health = Health()
    health.add("bank", check_bank)
    async with health, Scope(f"session token={SECRET}", kind="app") as scope:
        scope.go(look_for_orders, SECRET)
        scope.go(ask_a_server_that_hangs, port)
        scope.go(channel.send, SECRET)
        kept.append(asyncio.create_task(wait(SECRET), name=f"poll {ADDRESS}"))
        kept.append(asyncio.create_task(wait(SECRET), name=f"password={SECRET}"))
        kept.append(asyncio.create_task(log_in(SECRET), name="log in"))
        for _ in range(5):
            try:
                await breaker.call(log_in, SECRET)
            except Exception as error:
                kept_error = error
            rate.check(SECRET)
        Path(sys.argv[1]).touch()
        await asyncio.sleep(3600)
    del kept_error


asyncio.run(main())
