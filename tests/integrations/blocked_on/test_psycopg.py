"""Conformance: what waiting inside psycopg 3 is called, against a server that falls silent."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

psycopg = pytest.importorskip("psycopg")

Stack = contextlib.AsyncExitStack


async def _connect(port: int) -> Any:
    return await psycopg.AsyncConnection.connect(
        f"host=127.0.0.1 port={port} user=u dbname=d sslmode=disable gssencmode=disable",
        autocommit=True,
    )


def test_query(classify: Any, silent_postgres: int) -> None:
    """A query is "db", although psycopg waits for it with a plain event."""

    async def call(stack: Stack) -> None:
        connection = await _connect(silent_postgres)
        stack.callback(connection.pgconn.finish)
        await connection.execute("select 1")

    seen = classify(call, "psycopg query")
    assert (seen.kind, seen.label) == ("db", "psycopg query")
    assert seen.site.startswith(f"{__file__}:"), seen.site


def test_connect(classify: Any, silent_port: int) -> None:
    """A server that accepts but does not speak is a wait to connect."""

    async def call(stack: Stack) -> None:
        await _connect(silent_port)

    seen = classify(call, "psycopg connect")
    assert (seen.kind, seen.label) == ("db", "psycopg connect")
