"""asyncpg and a real PostgreSQL: the deadline reaches the server, and connections survive."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest

import backstay
from backstay.errors import DeadlineExceeded, ExpiredError
from backstay.integrations.asyncpg import transaction

pytestmark = [pytest.mark.slow, pytest.mark.real_loop]


async def setting(connection: Any) -> int:
    """Milliseconds that a statement may take now; 0 for no limit."""
    found = await connection.fetchval(
        "select setting::int from pg_settings where name = 'statement_timeout'"
    )
    return int(found)


async def running(url: str, marker: str) -> int:
    """How many statements with that marker run on the server."""
    watcher = await asyncpg.connect(url)
    try:
        found = await watcher.fetchval(
            "select count(*) from pg_stat_activity where state = 'active' and query like $1"
            " and pid <> pg_backend_pid()",
            f"%{marker}%",
        )
        return int(found)
    finally:
        await watcher.close()


async def test_a_transaction_tells_the_server_what_is_left(postgres: Any) -> None:
    """For its own length, and in no transaction after it; without a deadline nothing is set."""
    connection = await asyncpg.connect(postgres.url)
    try:
        async with backstay.timeout(2.0), transaction(connection):
            assert 1_500 < await setting(connection) <= 2_000
        assert await setting(connection) == 0
        async with transaction(connection):
            assert await setting(connection) == 0
        async with transaction(connection, isolation="serializable", readonly=True):
            assert await connection.fetchval("show transaction_isolation") == "serializable"
            assert await connection.fetchval("show transaction_read_only") == "on"
    finally:
        await connection.close()


async def test_it_commits_and_rolls_back(postgres: Any) -> None:
    """What the block did is there after it, and is not there when the block has failed."""
    connection = await asyncpg.connect(postgres.url)
    try:
        await connection.execute("create temporary table stock (n int)")
        async with transaction(connection):
            await connection.execute("insert into stock values (1)")
        with pytest.raises(ZeroDivisionError):
            async with transaction(connection):
                await connection.execute("insert into stock values (2)")
                raise ZeroDivisionError
        with pytest.raises(asyncpg.SyntaxOrAccessError):
            async with transaction(connection):
                await connection.execute("insert into nowhere values (3)")
        assert await connection.fetchval("select array_agg(n) from stock") == [1]
        async with transaction(connection):
            with pytest.raises(asyncpg.InterfaceError, match="open on this connection already"):
                async with transaction(connection):
                    raise AssertionError("not reached")
    finally:
        await connection.close()


async def test_with_no_time_left_nothing_is_sent(postgres: Any) -> None:
    """A call that nobody waits for any more is not made."""
    connection = await asyncpg.connect(postgres.url)
    try:
        with pytest.raises(ExpiredError, match="the call was not made"):
            async with backstay.timeout(1.0), transaction(connection, margin=2.0):
                raise AssertionError("not reached")
        assert not connection.is_in_transaction()
    finally:
        await connection.close()


async def test_a_deadline_ends_the_statement_and_the_connection_is_used_again(
    postgres: Any,
) -> None:
    """Eight statements are cut by their deadlines: none goes on, and the pool has its eight connections."""
    pool = await asyncpg.create_pool(postgres.url, min_size=8, max_size=8)
    try:
        before = await _pids(pool)

        async def slow() -> None:
            async with pool.acquire() as connection, backstay.timeout(0.3), transaction(connection):
                await connection.execute("select pg_sleep(30) -- cut")

        ended = await asyncio.gather(*(slow() for _ in range(8)), return_exceptions=True)
        for one in ended:
            assert isinstance(one, (DeadlineExceeded, asyncpg.QueryCanceledError)), one
        assert await running(postgres.url, "-- cut") == 0
        assert await _pids(pool) == before, "all connections have survived"
    finally:
        await pool.close()


async def _pids(pool: Any) -> set[int]:
    """The server processes behind all eight connections."""
    async with AsyncExitStack() as stack:
        taken = [await stack.enter_async_context(pool.acquire()) for _ in range(8)]
        return {int(await one.fetchval("select pg_backend_pid()")) for one in taken}


CLIENT = """
import asyncio, sys
import asyncpg, backstay
from backstay.integrations.asyncpg import transaction

async def main():
    connection = await asyncpg.connect(sys.argv[1])
    async with backstay.timeout(1.0):
        if sys.argv[2] == "ours":
            async with transaction(connection):
                await connection.execute("select pg_sleep(20) -- ours")
        else:
            async with connection.transaction():
                await connection.execute("select pg_sleep(20) -- stock")

backstay.run(main)
"""


@pytest.mark.parametrize(("kind", "left"), [("stock", 1), ("ours", 0)])
async def test_a_client_that_hangs_leaves_no_statement_behind(
    postgres: Any, kind: str, left: int
) -> None:
    """SIGSTOP: nobody is there to cancel it. Stock, the statement and its locks go on; ours, the server ends it."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CLIENT, postgres.url, kind, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(20):
            while await running(postgres.url, f"-- {kind}") == 0:
                await asyncio.sleep(0.02)
        child.send_signal(signal.SIGSTOP)
        await asyncio.sleep(1.5)
        assert await running(postgres.url, f"-- {kind}") == left
    finally:
        child.kill()
        await child.wait()
