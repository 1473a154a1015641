"""Conformance: what waiting inside aiosqlite is called."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

import aiosqlite

Stack = contextlib.AsyncExitStack


def test_query(classify: Any, tmp_path: Path) -> None:
    """A statement that its thread has not finished is "db", not "future"."""

    async def call(stack: Stack) -> None:
        release = threading.Event()
        connecting = aiosqlite.connect(tmp_path / "db")
        # A connect that is cancelled leaves its thread to end by itself: it must find the loop open.
        stack.callback(lambda: connecting._thread.join())
        connection = await stack.enter_async_context(connecting)
        stack.callback(release.set)
        await connection.create_function("block", 0, lambda: release.wait(10))
        async with connection.execute("select block()") as cursor:
            await cursor.fetchall()

    seen = classify(call, "aiosqlite query")
    assert (seen.kind, seen.label) == ("db", "aiosqlite query")
    assert seen.site.startswith(f"{__file__}:"), seen.site
