"""A real PostgreSQL that is killed, or hangs: callers fail in time, the pool recovers, no write has two effects."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from local_servers import start_again

import backstay
from backstay.errors import BackstayError
from backstay.guard import Pool
from backstay.integrations.asyncpg import transaction

pytestmark = [pytest.mark.slow, pytest.mark.real_loop, pytest.mark.timeout(90)]

DEADLINE_S = 0.5
RECOVERS_S = 5.0  # from the moment that the server answers again
PACE_S = 0.01


class Writers:
    """Eight callers that write, each write under a number of its own and within a deadline.

    Attributes:
        written: numbers whose commit was acknowledged.
        failed: how often each kind of error came.
        slowest_s: the longest call.
        last_ok: when a write succeeded last.
    """

    def __init__(self, url: str) -> None:
        self.written: list[int] = []
        self.failed: Counter[str] = Counter()
        self.slowest_s = 0.0
        self.last_ok = 0.0
        self._next = 0
        self.pool: Pool[Any] = Pool(
            lambda: asyncpg.connect(url, timeout=1.0),
            close=_close,
            check=lambda connection: not connection.is_closed(),
            name="orders",
            max_open=4,
        )

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Write for the length of the block."""
        async with self.pool:
            tasks = [asyncio.create_task(self._write_on()) for _ in range(8)]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _write_on(self) -> None:
        while True:
            self._next += 1
            number, began = self._next, time.monotonic()
            try:
                async with backstay.timeout(DEADLINE_S):
                    await self._write(number)
                self.written.append(number)
                self.last_ok = time.monotonic()
            except (BackstayError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                self.failed[f"{type(error).__name__}: {error}"[:90]] += 1
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            await asyncio.sleep(PACE_S)

    async def _write(self, number: int) -> None:
        async with self.pool.take() as connection, transaction(connection):
            await connection.execute("insert into effects values ($1)", number)

    async def works_within(self, seconds: float) -> float:
        """Wait until a write succeeds that began now or later; the seconds that it took."""
        began = time.monotonic()
        while self.last_ok < began:
            assert time.monotonic() - began < seconds, self.failed
            await asyncio.sleep(0.02)
        return self.last_ok - began


async def _close(connection: Any) -> None:
    try:
        await connection.close(timeout=0.5)
    except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()


async def _effects(url: str) -> Counter[int]:
    connection = await asyncpg.connect(url, timeout=5)
    try:
        return Counter(one["n"] for one in await connection.fetch("select n from effects"))
    finally:
        await connection.close()


async def test_kill_and_hang(postgres: Any) -> None:
    """kill -9 and a restart, then SIGSTOP for two seconds and SIGCONT.

    No caller waits longer than its deadline and what is needed to give up a connection; five seconds after the
    server is back writes succeed; every acknowledged write is there, once.
    """
    connection = await asyncpg.connect(postgres.url)
    await connection.execute("create table effects (n bigint)")
    await connection.close()
    writers = Writers(postgres.url)
    async with writers.at_work():
        await writers.works_within(5)
        await asyncio.sleep(0.5)
        await asyncio.to_thread(postgres.kill)
        await asyncio.sleep(1.0)
        assert writers.failed
        await asyncio.to_thread(start_again, postgres)
        assert await writers.works_within(RECOVERS_S) < RECOVERS_S
        await asyncio.sleep(0.5)
        before = Counter(writers.failed)
        await asyncio.to_thread(_signal_all, postgres, signal.SIGSTOP)
        await asyncio.sleep(2.0)
        assert sum((writers.failed - before).values()) >= 4, "callers were told in time"
        await asyncio.to_thread(_signal_all, postgres, signal.SIGCONT)
        assert await writers.works_within(RECOVERS_S) < RECOVERS_S
        assert writers.slowest_s < DEADLINE_S + 1.5
    effects = await _effects(postgres.url)
    missing = set(writers.written) - set(effects)
    assert not missing, f"{len(missing)} acknowledged writes are gone"
    assert set(effects.values()) == {1}
    assert len(writers.written) > 50


def _signal_all(postgres: Any, number: signal.Signals) -> None:
    """Send it to the postmaster and to all backends: a hang takes the whole machine."""
    children = Path(f"/proc/{postgres.pid}/task/{postgres.pid}/children").read_text().split()
    for pid in [postgres.pid, *map(int, children)]:
        os.kill(pid, number)
