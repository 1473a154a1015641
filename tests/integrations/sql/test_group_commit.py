"""Group commit on a real PostgreSQL: who shares a transaction, and what a failure, a cancel and an end leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from local_servers import start_again

import backstay
from backstay.errors import DeadlineExceeded
from backstay.guard import Pool
from backstay.integrations.asyncpg_group_commit import GroupCommit, NotCommitted, group_commit

pytestmark = [pytest.mark.slow, pytest.mark.real_loop, pytest.mark.timeout(60)]

Job = Callable[[Any], Awaitable[Any]]


def add(number: int) -> Job:
    """A write of one row."""
    return lambda connection: connection.fetchval(
        "insert into orders values ($1) returning n", number
    )


async def ask(url: str, statement: str) -> list[Any]:
    """The first column of what another connection sees."""
    connection = await asyncpg.connect(url, timeout=5)
    try:
        return [row[0] for row in await connection.fetch(statement)]
    finally:
        await connection.close()


async def commits(url: str, at_least: int = 0) -> int:
    """What the server has counted: each connection reports when it ends, a moment later."""
    statement = "select xact_commit from pg_stat_database where datname = current_database()"
    async with asyncio.timeout(10):
        while (count := int((await ask(url, statement))[0])) < at_least:
            await asyncio.sleep(0.1)
    return count


@asynccontextmanager
async def orders(url: str, **options: Any) -> AsyncGenerator[tuple[GroupCommit, Pool[Any]]]:
    """An empty table, a pool of two, and a group commit over it."""
    await ask(url, "drop table if exists orders")
    await ask(url, "create table orders (n bigint primary key)")
    pool: Pool[Any] = Pool(
        lambda: asyncpg.connect(url, timeout=2),
        close=lambda connection: connection.terminate(),
        check=lambda connection: not connection.is_closed(),
        name="orders",
        max_open=2,
    )
    async with pool, group_commit(pool, **options) as group:
        yield group, pool


class Gate:
    """A write that holds its transaction open, so that others pile up behind it."""

    def __init__(self) -> None:
        self.reached, self.opened = asyncio.Event(), asyncio.Event()

    async def __call__(self, connection: Any) -> None:
        """Wait inside the transaction."""
        self.reached.set()
        await self.opened.wait()


@asynccontextmanager
async def piling_up(group: GroupCommit) -> AsyncGenerator[Gate]:
    """While the block runs nothing is committed; afterwards what came is one group."""
    gate = Gate()
    holder = asyncio.create_task(group.write(gate))
    await gate.reached.wait()
    try:
        yield gate
        await asyncio.sleep(0)
    finally:
        gate.opened.set()
        await asyncio.gather(holder, return_exceptions=True)


async def test_one_commit_for_each_order_and_one_for_many(postgres: Any) -> None:
    """Stock: as many commits as orders. Ours: those that came while another was written share one."""
    async with orders(postgres.url) as (_, pool):

        async def stock(number: int) -> None:
            async with pool.take() as connection:
                await add(number)(connection)

        begun = await commits(postgres.url)
        await asyncio.gather(*(stock(number) for number in range(200)))
    assert await commits(postgres.url, at_least=begun + 200) >= begun + 200
    async with orders(postgres.url, largest=50) as (group, _):
        begun = await commits(postgres.url)
        answers = await asyncio.gather(*(group.write(add(number)) for number in range(200)))
        assert answers == list(range(200))
        told = group.statistics()
    assert begun + 4 <= await commits(postgres.url, at_least=begun + 4) < begun + 60
    stored = await ask(postgres.url, "select n from orders order by n")
    assert stored == list(range(200))
    assert (told.committed, told.failed, told.waiting) == (200, 0, 0)
    assert (told.commits, told.largest) == (4, 50)


async def test_an_error_undoes_its_own_write_alone(postgres: Any) -> None:
    """In a group, and alone; its own error reaches its caller."""
    async with orders(postgres.url) as (group, _):
        async with piling_up(group):
            several = [asyncio.create_task(group.write(add(number))) for number in (1, 2, 1, 3)]
            await asyncio.sleep(0)
        results = await asyncio.gather(*several, return_exceptions=True)
        assert [type(one) for one in results] == [int, int, asyncpg.UniqueViolationError, int]
        with pytest.raises(asyncpg.UniqueViolationError):
            await group.write(add(3))
        assert await group.write(add(4)) == 4
        assert group.statistics().failed == 2
    assert await ask(postgres.url, "select n from orders order by n") == [1, 2, 3, 4]


async def test_a_caller_that_leaves(postgres: Any) -> None:
    """Before its turn nothing has happened; in its turn the write is stored all the same."""
    async with orders(postgres.url) as (group, _):
        async with piling_up(group) as gate:
            leaves = asyncio.create_task(group.write(add(1)))
            await asyncio.sleep(0)
            leaves.cancel()
            del gate
        slow = Gate()

        async def slowly(connection: Any) -> None:
            await add(2)(connection)
            await slow(connection)

        begun = asyncio.create_task(group.write(slowly))
        await slow.reached.wait()
        begun.cancel()
        await asyncio.gather(leaves, begun, return_exceptions=True)
        slow.opened.set()
        assert group.statistics().skipped == 1
    assert await ask(postgres.url, "select n from orders") == [2]


async def test_the_end_writes_what_waits_and_an_error_does_not(postgres: Any) -> None:
    """Leaving the block in order loses nothing; an error in it cuts, and whoever waits is told."""
    async with orders(postgres.url) as (group, _):
        waiting = [asyncio.create_task(group.write(add(number))) for number in range(10)]
        await asyncio.sleep(0)
    assert await asyncio.gather(*waiting) == list(range(10))
    with pytest.raises(NotCommitted, match="is closed"):
        await group.write(add(11))
    gate = Gate()
    with pytest.raises(ZeroDivisionError):
        async with orders(postgres.url) as (group, _):
            cut = [asyncio.create_task(group.write(gate)), asyncio.create_task(group.write(add(1)))]
            await gate.reached.wait()
            _ = 1 / 0
    told = await asyncio.gather(*cut, return_exceptions=True)
    assert [type(one) for one in told] == [NotCommitted, NotCommitted]
    assert await ask(postgres.url, "select n from orders") == []


async def test_a_group_ends_at_its_budget(postgres: Any) -> None:
    """What hangs in it is rolled back with it, and the next group goes on."""
    async with orders(postgres.url, budget=0.3) as (group, _):

        async def hangs(connection: Any) -> None:
            await add(1)(connection)
            await asyncio.Event().wait()

        with pytest.raises(NotCommitted, match="ask whether the row is there") as caught:
            await group.write(hangs)
        assert isinstance(caught.value.__cause__, DeadlineExceeded)
        assert await group.write(add(2)) == 2
    assert await ask(postgres.url, "select n from orders") == [2]


async def test_a_cancel_inside_of_a_write_is_its_own(postgres: Any) -> None:
    """A future that somebody cancelled does not end the task that writes for all."""
    async with orders(postgres.url) as (group, _):

        async def looks_at_a_cancelled_one(_: Any) -> None:
            gone = asyncio.get_running_loop().create_future()
            gone.cancel()
            await gone

        with pytest.raises(NotCommitted, match="inside of the write"):
            await group.write(looks_at_a_cancelled_one)
        assert await group.write(add(1)) == 1


async def test_a_server_that_is_killed(postgres: Any) -> None:
    """Who was being written hears of it in time, and the group commit works again with the server."""
    async with orders(postgres.url, budget=1.0) as (group, _):
        assert await group.write(add(1)) == 1
        await asyncio.to_thread(postgres.kill)
        with pytest.raises((NotCommitted, OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
            await group.write(add(2))
        await asyncio.to_thread(start_again, postgres)
        async with backstay.timeout(10):
            while True:
                try:
                    assert await group.write(add(3)) == 3
                    break
                except (NotCommitted, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    await asyncio.sleep(0.1)
    assert 3 in await ask(postgres.url, "select n from orders")


def test_wrong_numbers_are_refused() -> None:
    """Named with what was given."""

    async def body() -> None:
        async with group_commit(Pool(asyncio.sleep), largest=0):  # pyright: ignore[reportArgumentType]
            pass

    with pytest.raises(ValueError, match="largest=0"):
        asyncio.run(body())
