"""asyncpg with a deadline that the server knows: a statement ends there too, and the connection survives.

Extra: ``pip install backstay[asyncpg]``. Tested with asyncpg 0.30 to 0.32 and PostgreSQL 15.

    async with transaction(connection):
        await connection.execute("update stock set ...")

A task whose deadline comes is cancelled, and asyncpg then asks the server to cancel the statement. That asks
for a second connection, and nothing of it happens when the process dies, hangs, or loses its network: the statement
goes on, with its locks. `transaction` tells the server beforehand how long statements may take (`statement_timeout`), in
the same round trip that begins the transaction.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Literal

import asyncpg  # type: ignore[import-untyped]

from backstay.context import time_for_call

__all__ = ["Connection", "transaction"]

Isolation = Literal["read committed", "repeatable read", "serializable"]
# A connection, or what a pool lends: generics of a library that has stubs for some versions only.
Connection = Any

_UNDO_S = 1.0  # for the rollback of what was cut


@asynccontextmanager
async def transaction(
    connection: Connection,
    *,
    margin: float = 0.0,
    isolation: Isolation | None = None,
    readonly: bool = False,
) -> AsyncGenerator[Connection]:
    """Do the block in one transaction, whose statements end at the ambient deadline, on the server too.

    Args:
        connection: of asyncpg, with no transaction open.
        margin: seconds of the deadline kept back for our own work afterwards.
        isolation: of the transaction; the server's default when omitted.
        readonly: whether it may not write.

    Yields:
        The connection.

    Raises:
        ExpiredError: no time is left; nothing was sent.
        asyncpg.InterfaceError: a transaction is open already.
        asyncpg.QueryCanceledError: a statement took longer than what was left.

    Cancelled: the transaction is rolled back; a connection on which even that fails within a second is
        closed, so that its pool makes a new one.

    Cost: the round trips of a transaction, and none for the deadline.
    """
    left = time_for_call(margin)
    if connection.is_in_transaction():
        raise asyncpg.InterfaceError(
            "a transaction is open on this connection already: its deadline was set when it began"
        )
    words = "BEGIN"
    if isolation is not None:
        words += f" ISOLATION LEVEL {isolation.upper()}"
    if readonly:
        words += " READ ONLY"
    if left is not None:
        words += f"; SET LOCAL statement_timeout = {max(1, math.floor(left * 1000))}"
    try:
        await connection.execute(words)
        yield connection
    except BaseException:
        await _undo(connection)
        raise
    try:
        await connection.execute("COMMIT")
    except BaseException:
        await _undo(connection)
        raise


async def _undo(connection: Connection) -> None:
    """Roll back, or give the connection up.

    The server's own end of a statement and the cancel of its task come within a millisecond of each other, in
    either order: a cancel in the middle of the rollback, or one that the server had from the statement and
    carries out late, is no reason to lose the connection. A second one of our own is.
    """
    cut: asyncio.CancelledError | None = None
    try:
        async with asyncio.timeout(_UNDO_S) as limit:
            while not connection.is_closed() and connection.is_in_transaction():
                try:
                    await connection.execute("ROLLBACK")
                except asyncpg.QueryCanceledError:
                    continue
                except asyncio.CancelledError as error:
                    if cut is not None or limit.expired():
                        raise
                    cut = error
    except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()
    except asyncio.CancelledError:
        connection.terminate()
        raise
    if cut is not None:
        raise cut
