"""The subscriptions of a connection are started by it, and nobody ends them when it closes.

Cases: graphql-ws#16, aiohttp#6325.
Cure: start them in the connection's scope.
"""

from __future__ import annotations

import asyncio

from corpus_stage import Expect, Stage

from backstay import Scope

EXPECT = Expect("ORPHAN", count=6)


class Topic:
    def __init__(self) -> None:
        self.changed = asyncio.Condition()


topics: list[Topic] = []


async def subscription(topic: Topic) -> None:
    while True:
        async with topic.changed:
            await topic.changed.wait()  # leak: waits


subscriptions: set[asyncio.Task[None]] = set()


async def leak(stage: Stage) -> None:
    topics.append(Topic())
    for number in range(3):
        async with Scope(f"socket {number}", kind="connection"):
            for _ in range(2):
                subscriptions.add(asyncio.create_task(subscription(topics[-1])))  # leak: spawn
            await stage.settle(0.0)


async def fix(stage: Stage) -> None:
    topics.append(Topic())
    for number in range(3):
        async with Scope(f"socket {number}", kind="connection", on_exit="cancel") as scope:
            for _ in range(2):
                scope.go(subscription, topics[-1])
            await stage.settle(0.0)
