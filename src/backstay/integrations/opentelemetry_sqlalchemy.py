"""Spans of OpenTelemetry for SQLAlchemy's asyncio engines: one for each statement.

Extras: ``pip install backstay[sqlalchemy,opentelemetry]``. Tested with SQLAlchemy 2.1 and opentelemetry 1.45.

    engine = create_async_engine("postgresql+asyncpg://...")
    trace_statements(engine)

What it adds to the contrib instrumentation: one span a statement and none for a connection that is taken from the
pool; outside of a trace nothing is recorded; and values never are, neither parameters nor those that stand in the
text. No class is changed: the dialect of the engine, which is the engine's own, is told who sends its statements.
Listeners of the engine itself would cost each connection that is taken fifty microseconds, traced or not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from opentelemetry import trace
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from backstay.integrations._spans import default_tracer, record_done, wanted
from backstay.integrations._sql_text import read_statement

__all__ = ["trace_statements"]

# What OpenTelemetry calls the servers whose name in SQLAlchemy is another.
_SYSTEMS: Final = {"mssql": "microsoft.sql_server", "oracle": "oracle.db"}
_STANDARD: Final = frozenset({"postgresql", "sqlite"})


def trace_statements(
    engine: AsyncEngine, *, tracer: trace.Tracer | None = None, roots: bool = False
) -> Callable[[], None]:
    """Record a span of kind "client" for each statement of an engine.

    Args:
        engine: of SQLAlchemy.
        tracer: of OpenTelemetry; that of the global provider when omitted.
        roots: record those that no span is around, too.

    Returns:
        Call it to take that back.

    The span is named by operation and table, and covers what the server and the driver do, not the wait for a
    connection. An error and a cancel make it an error. BEGIN and COMMIT are not recorded: drivers send them when
    they will. What SQLAlchemy itself asks when an engine connects for the first time is. Rows that are streamed
    are fetched after it. Whoever else sends statements for the engine (the dialect's event `do_execute`, with True
    for an answer) must have been there before.

    Cost: what the SDK takes for a span, and some ten microseconds; a few outside of a trace.
    """
    told = _Told(tracer or default_tracer(), roots, engine)
    target: Any = engine.sync_engine
    listeners: list[tuple[str, Callable[..., bool]]] = [
        ("do_execute", told.one),
        ("do_executemany", told.many),
        ("do_execute_no_params", told.without),
    ]
    for name, listener in listeners:
        event.listen(target, name, listener)

    def forget() -> None:
        for name, listener in listeners:
            event.remove(target, name, listener)

    return forget


class _Told:
    """What is the same for all spans of an engine."""

    def __init__(self, tracer: trace.Tracer, roots: bool, engine: AsyncEngine) -> None:
        self._tracer = tracer
        self._roots = roots
        dialect, url = engine.dialect.name, engine.url
        self._standard = dialect in _STANDARD
        self._where: dict[str, str | int] = {"db.system.name": _SYSTEMS.get(dialect, dialect)}
        if url.database:
            self._where["db.namespace"] = url.database
        if url.host:
            self._where["server.address"] = url.host
        if url.port:
            self._where["server.port"] = url.port

    def one(self, cursor: Any, sql: str, parameters: Any, context: Any) -> bool:
        """Send a statement."""
        return self._send(context.dialect.do_execute, 0, cursor, sql, parameters, context)

    def many(self, cursor: Any, sql: str, parameters: Any, context: Any) -> bool:
        """Send a statement with several sets of parameters."""
        batch = len(parameters)
        return self._send(context.dialect.do_executemany, batch, cursor, sql, parameters, context)

    def without(self, cursor: Any, sql: str, context: Any) -> bool:
        """Send a statement that has no place for parameters."""
        return self._send(context.dialect.do_execute_no_params, 0, cursor, sql, context)

    def _send(
        self, plain: Callable[..., None], batch: int, cursor: Any, sql: str, *words: Any
    ) -> bool:
        """Do what the engine would have done; True says that it is done."""
        if not wanted(self._roots):
            return False
        began = time.time_ns()
        try:
            plain(cursor, sql, *words)
        except BaseException as error:
            self._done(sql, began, batch, error)
            raise
        self._done(sql, began, batch)
        return True

    def _done(self, sql: str, began: int, batch: int, error: BaseException | None = None) -> None:
        statement = read_statement(sql, standard=self._standard)
        told: dict[str, str | int] = {
            **self._where,
            "db.operation.name": statement.operation,
            "db.query.summary": statement.summary,
        }
        if statement.text:
            told["db.query.text"] = statement.text
        if batch:
            told["db.operation.batch.size"] = batch
        if (state := getattr(error, "sqlstate", None)) is not None:
            told["db.response.status_code"] = state
        record_done(self._tracer, statement.summary, began, time.time_ns(), told, error)
