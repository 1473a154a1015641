"""A task group is entered in one task and never left there: its children run on.

An async generator opens a group and yields out of it. Its consumer stops half way, and who closes
the generator, and where, is left to chance. A miniature of what MCP servers do in their sessions.

Cases: eneo#361, mcp-context-forge#2360, mcp-context-forge#3737, nanobot#3638, MCP python-sdk#521.
Cure: no scope around a `yield`; own the group where its children are used.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from corpus_stage import Expect, Stage

from backstay import Scope

EXPECT = Expect("ORPHAN", count=2)


async def ping() -> None:
    while True:
        await asyncio.sleep(5)  # leak: waits


async def session() -> AsyncIterator[str]:
    async with asyncio.TaskGroup() as group:
        pinging = group.create_task(ping())  # leak: spawn
        yield "first"
        yield "second"
        pinging.cancel()


kept: list[AsyncIterator[str]] = []  # the framework's table of sessions


async def leak(stage: Stage) -> None:
    for number in range(2):
        async with Scope(f"session {number}", kind="request"):
            kept.append(session())
            async for _ in kept[-1]:
                break


async def fix(stage: Stage) -> None:
    for number in range(2):
        async with Scope(f"session {number}", kind="request") as scope:
            pinging = scope.go(ping)
            async with aclosing(messages()) as source:
                async for _ in source:
                    break
            pinging.cancel()


async def messages() -> AsyncIterator[str]:
    yield "first"
    yield "second"
