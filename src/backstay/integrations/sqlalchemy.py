"""SQLAlchemy's asyncio engines with a deadline that the server knows.

Extra: ``pip install backstay[sqlalchemy]``. Tested with SQLAlchemy 2.0.38 to 2.1 over asyncpg
and psycopg, and PostgreSQL 15.

    engine = create_async_engine("postgresql+asyncpg://...")
    limit_statements(engine)

From then on each transaction tells the server how long its statements may take: what is left of the deadline around
it when it begins. Without that, a statement whose caller has given up goes on when the process has no chance to cancel it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from backstay.context import time_for_call
from backstay.errors import UsageError

__all__ = ["limit_statements"]


def limit_statements(engine: AsyncEngine, *, margin: float = 0.0) -> Callable[[], None]:
    """Let the statements of each transaction end at the ambient deadline, on the server too.

    Args:
        engine: of PostgreSQL.
        margin: seconds of the deadline kept back for our own work afterwards.

    Returns:
        Call it to take that back.

    Raises:
        UsageError: the engine is not one of PostgreSQL.

    A transaction that begins when no time is left raises `ExpiredError`, before anything is sent. In one
    without a deadline around it nothing is changed.

    Cost: one round trip for each transaction with a deadline.
    """
    dialect = engine.dialect.name
    if dialect != "postgresql":
        raise UsageError(
            f"limit_statements() sets PostgreSQL's statement_timeout, and this engine is for {dialect!r}"
        )

    def begin(connection: Connection) -> None:
        left = time_for_call(margin)
        if left is not None:
            most = max(1, math.floor(left * 1000))
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {most}")

    target: Any = engine.sync_engine
    event.listen(target, "begin", begin)
    return lambda: event.remove(target, "begin", begin)
