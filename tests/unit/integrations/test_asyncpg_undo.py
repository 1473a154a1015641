"""A transaction that is cut is undone, whatever comes in between; the connection is given up only when that fails."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import pytest

from backstay.integrations.asyncpg import transaction


class Connection:
    """One whose ROLLBACK takes a second tenth, or ends as it is told to."""

    def __init__(self, *rollbacks: BaseException | float) -> None:
        self.rollbacks = list(rollbacks)
        self.asked: list[str] = []
        self.open = False
        self.terminated = False

    def is_in_transaction(self) -> bool:
        return self.open

    def is_closed(self) -> bool:
        return self.terminated

    def terminate(self) -> None:
        self.terminated = True

    async def execute(self, words: str) -> None:
        self.asked.append(words)
        if words.startswith("BEGIN"):
            self.open = True
            return
        how = self.rollbacks.pop(0) if self.rollbacks else 0.1
        if isinstance(how, BaseException):
            raise how
        await asyncio.sleep(how)
        self.open = False


async def cut(connection: Any, error: BaseException, *cancels_after: float) -> BaseException:
    """Have a block fail with `error`, and its task cancelled while it is undone; return what left it."""

    async def block() -> None:
        async with transaction(connection):
            raise error

    task = asyncio.get_running_loop().create_task(block())
    for pause in cancels_after:
        await asyncio.sleep(pause)
        task.cancel()
    (left,) = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(left, BaseException)
    return left


async def test_a_cancel_in_the_middle_of_the_rollback_costs_no_connection() -> None:
    """The server has ended the statement first, and the deadline of the task comes while that is undone."""
    connection = Connection()
    left = await cut(connection, asyncpg.QueryCanceledError("statement timeout"), 0.05)
    assert isinstance(left, asyncio.CancelledError)
    assert connection.asked == ["BEGIN", "ROLLBACK", "ROLLBACK"]
    assert (connection.open, connection.terminated) == (False, False)


async def test_a_cancel_meant_for_the_statement_may_hit_the_rollback() -> None:
    """It is asked for again."""
    connection = Connection(asyncpg.QueryCanceledError("canceling statement due to user request"))
    assert isinstance(await cut(connection, ZeroDivisionError()), ZeroDivisionError)
    assert connection.asked == ["BEGIN", "ROLLBACK", "ROLLBACK"]
    assert (connection.open, connection.terminated) == (False, False)


async def test_a_second_cancel_gives_the_connection_up() -> None:
    """Whoever cancels twice does not want to wait."""
    connection = Connection()
    left = await cut(connection, ZeroDivisionError(), 0.05, 0.05)
    assert isinstance(left, asyncio.CancelledError)
    assert connection.terminated


@pytest.mark.parametrize("cancels", [(), (0.5,)])
async def test_a_rollback_that_hangs_gives_the_connection_up(cancels: tuple[float, ...]) -> None:
    """After a second, with and without a cancel in between, which is not lost."""
    connection = Connection(60.0, 60.0)
    loop = asyncio.get_running_loop()
    began = loop.time()
    left = await cut(connection, ZeroDivisionError(), *cancels)
    assert isinstance(left, asyncio.CancelledError if cancels else ZeroDivisionError)
    assert loop.time() - began == pytest.approx(1.0)
    assert connection.terminated


@pytest.mark.parametrize("error", [OSError("gone"), asyncpg.InterfaceError("gone")])
async def test_a_rollback_that_fails_gives_the_connection_up(error: Exception) -> None:
    """And what has failed first is told."""
    connection = Connection(error)
    assert isinstance(await cut(connection, ZeroDivisionError()), ZeroDivisionError)
    assert connection.terminated
