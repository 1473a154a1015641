"""Spans of OpenTelemetry for asyncpg: one for each statement.

Extras: ``pip install backstay[asyncpg,opentelemetry]``. Tested with asyncpg 0.32 and opentelemetry 1.45.

    pool = await asyncpg.create_pool(dsn, connection_class=traced_connection())

What it adds to the contrib instrumentation: a connection that is traced is of a class of its own, which asyncpg is
told to make, so no class of its own is changed, and others are not traced; outside of a trace nothing is
recorded; and values never are, neither parameters nor those that stand in the text.

asyncpg's query log would tell the same, a turn of the loop too late, and costs each statement ten microseconds
also where nobody listens.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import lru_cache, wraps
from typing import Any

import asyncpg  # type: ignore[import-untyped]
from opentelemetry import trace

from backstay.integrations._spans import default_tracer, record_done, wanted
from backstay.integrations._sql_text import read_statement

__all__ = ["traced_connection"]

# How a pool begins to clean a connection up: a statement that nobody has asked for.
_RESET = "SELECT pg_advisory_unlock_all()"
_METHODS = ("execute", "executemany", "fetch", "fetchmany", "fetchrow", "fetchval")


def traced_connection(*, tracer: trace.Tracer | None = None, roots: bool = False) -> type[Any]:
    """Return a class of connections that record a span of kind "client" for each statement.

    ::

        connection = await asyncpg.connect(dsn, connection_class=traced_connection())

    Args:
        tracer: of OpenTelemetry; that of the global provider when omitted.
        roots: record statements that no span is around, too.

    Returns:
        A subclass of `asyncpg.Connection`, for the `connection_class` of `connect` and `create_pool`.

    The span is named by operation and table; an error and a cancel make it an error. BEGIN and COMMIT are statements;
    what a pool does to clean a connection up is not recorded, nor are cursors, copies and statements that are
    prepared by hand.

    Cost: what the SDK takes for a span, and some five microseconds; one outside of a trace.
    """
    told = _Told(tracer or default_tracer(), roots)
    base: type[Any] = asyncpg.Connection
    body: dict[str, Any] = {"__slots__": (), "__doc__": "A connection whose statements are spans."}
    for name in _METHODS:
        if hasattr(base, name):  # `fetchmany` is younger than the others
            body[name] = told.statements(getattr(base, name))
    return type("TracedConnection", (base,), body)


class _Told:
    """What is the same for all spans of a class of connections."""

    __slots__ = ("_roots", "_tracer")

    def __init__(self, tracer: trace.Tracer, roots: bool) -> None:
        self._tracer = tracer
        self._roots = roots

    def statements(self, plain: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """Wrap a method that sends one statement."""

        @wraps(plain)
        async def send(connection: Any, *args: Any, **options: Any) -> Any:
            query = args[0] if args else options.get("query") or options.get("command") or ""
            if not wanted(self._roots) or query.startswith(_RESET):
                return await plain(connection, *args, **options)
            began = time.time_ns()
            try:
                answer = await plain(connection, *args, **options)
            except BaseException as error:
                self._done(connection, query, began, error)
                raise
            self._done(connection, query, began)
            return answer

        return send

    def _done(
        self, connection: Any, query: str, began: int, error: BaseException | None = None
    ) -> None:
        statement = read_statement(query)
        parameters = getattr(connection, "_params", None)
        told: dict[str, str | int] = {
            **_place(getattr(connection, "_addr", None), getattr(parameters, "database", None)),
            "db.operation.name": statement.operation,
            "db.query.summary": statement.summary,
            "db.query.text": statement.text,
        }
        if (state := getattr(error, "sqlstate", None)) is not None:
            told["db.response.status_code"] = state
        record_done(self._tracer, statement.summary, began, time.time_ns(), told, error)


@lru_cache(64)
def _place(where: Any, database: str | None) -> dict[str, str | int]:
    """Return what there is to tell of a server, whose address is (host, port) or the path of a socket."""
    told: dict[str, str | int] = {"db.system.name": "postgresql"}
    if database:
        told["db.namespace"] = database
    if isinstance(where, tuple):
        told["server.address"], told["server.port"] = where
    elif where:
        told["server.address"] = where
    return told
