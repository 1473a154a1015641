"""The client has left, and the work for it goes on.

The handler starts a generation and returns when the client is gone; nobody tells the generation.
Behind a scope of the request it is an orphan, with the request's trace.

Cases: vllm#7111, vllm#320.
Cure: the generation belongs to the request, and ends with it.
"""

from __future__ import annotations

import asyncio

from corpus_stage import Expect, Stage

from backstay import Scope

EXPECT = Expect("ORPHAN", count=3)


async def generate(tokens: asyncio.Queue[str]) -> None:
    while True:
        await asyncio.sleep(0.01)  # leak: waits
        if tokens.qsize() < 3:
            tokens.put_nowait("token")


working: set[asyncio.Task[None]] = set()


async def handle() -> None:
    tokens: asyncio.Queue[str] = asyncio.Queue()
    working.add(asyncio.create_task(generate(tokens)))  # leak: spawn
    await tokens.get()
    # the client has left: nothing more to send


async def leak(stage: Stage) -> None:
    for number in range(3):
        async with Scope(f"POST /generate {number}", kind="request"):
            await handle()


async def fix(stage: Stage) -> None:
    for number in range(3):
        async with Scope(f"POST /generate {number}", kind="request", on_exit="cancel") as scope:
            tokens: asyncio.Queue[str] = asyncio.Queue()
            scope.go(generate, tokens)
            await tokens.get()
