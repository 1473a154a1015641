"""The service of the guide as a process, with its servers; visitors, and a look into its tables."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import nats
from nats.js.errors import NotFoundError
from page_code import service_after
from real_processes import Process, environment

__all__ = ["Adopted", "Visitors"]

TABLES = """
DROP TABLE IF EXISTS price, orders, shipment, inbox;
CREATE TABLE price (sku text PRIMARY KEY, cents int);
CREATE TABLE orders (id text PRIMARY KEY, sku text, cents int);
CREATE TABLE shipment (id text, at timestamptz DEFAULT now());
CREATE TABLE inbox (id text PRIMARY KEY, at timestamptz DEFAULT now());
INSERT INTO price VALUES ('winch', 1200);
"""
# `shipment` has no key here, so that a second shipment of an order would be seen.


class Adopted:
    """The service after some step; its tables and its stream."""

    def __init__(self, room: Path, postgres: str, redis: str, bus: str) -> None:
        self.room, self.postgres, self.bus = room, postgres, bus
        self.settings = {
            "DATABASE_URL": postgres.replace("postgresql://", "postgresql+asyncpg://"),
            "REDIS_URL": redis,
            "NATS_URL": bus,
            "PORT": "0",
            "LAME_DUCK": "0.2",
        }
        self._started: list[subprocess.Popen[str]] = []

    def prepare(self) -> None:
        """Make the tables and the stream anew."""

        async def make() -> None:
            client = await nats.connect(self.bus)
            with suppress(NotFoundError):
                await client.jetstream().delete_stream("orders")
            await client.jetstream().add_stream(name="orders", subjects=["orders.placed"])
            await client.close()

        asyncio.run(make())
        self.ask(TABLES)

    def ask(self, query: str) -> list[str]:
        """Return the first column of what a query finds."""

        async def fetch() -> list[str]:
            connection = await asyncpg.connect(self.postgres)
            try:
                if query is TABLES:
                    await connection.execute(query)
                    return []
                return [row[0] for row in await connection.fetch(query)]
            finally:
                await connection.close()

        return asyncio.run(fetch())

    def write(self, step: int) -> None:
        """Put the service as it is after a step into the room."""
        (self.room / "orders.py").write_text(service_after(step), encoding="utf-8")

    def start(self, *arguments: str) -> Process:
        """Start `backstay run ARGUMENTS`, and wait until it listens."""
        popen = subprocess.Popen(
            [sys.executable, "-m", "backstay", "run", *arguments],
            cwd=self.room,
            env=environment(self.room, self.settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(popen)
        process = Process(popen)
        assert process.port
        return process

    def kill(self) -> None:
        """End what a test has left running."""
        for popen in self._started:
            popen.kill()
            popen.wait()
            for stream in (popen.stdout, popen.stderr):
                if stream is not None:
                    stream.close()

    def shipped(self, orders: set[str], within: float = 15.0) -> Counter[str]:
        """Wait until all of these are shipped; return how often each order was."""
        until = time.monotonic() + within
        while True:
            found = Counter(self.ask("SELECT id FROM shipment"))
            if orders <= found.keys() or time.monotonic() > until:
                return found
            time.sleep(0.1)


class Visitors:
    """Threads that order until they are told to stop, or nobody answers any more."""

    def __init__(self, process: Process, count: int = 8) -> None:
        self.url = f"http://127.0.0.1:{process.port}/orders"
        self.placed: set[str] = set()
        self.statuses: Counter[int] = Counter()
        self.torn: list[Exception] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._order) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _order(self) -> None:
        with httpx.Client(timeout=15) as client:
            while not self._stop.is_set():
                try:
                    reply = client.post(self.url, params={"sku": "winch", "count": 2})
                except httpx.ConnectError:
                    return
                except httpx.HTTPError as error:
                    self.torn.append(error)
                    return
                self.statuses[reply.status_code] += 1
                if reply.status_code == 201:
                    answer: Any = reply.json()
                    assert answer["cents"] == 2400
                    self.placed.add(answer["order"])

    def wait_for(self, count: int, within: float = 20.0) -> None:
        """Wait until so many orders are placed."""
        until = time.monotonic() + within
        while len(self.placed) < count:
            assert time.monotonic() < until, self.statuses
            time.sleep(0.01)

    def end(self, *, told: bool = True) -> None:
        """Tell them to stop, or let them find out by themselves that nobody listens."""
        if told:
            self._stop.set()
        for thread in self._threads:
            thread.join(30)
        self._stop.set()
