"""A process that consumes, and may be killed: each effect is a row in a file, beside its inbox.

    python consuming_process.py BROKER URL FILE ACK_WAIT

Tells "ready" when it runs; leaves at SIGTERM, and tells its statistics as a line of JSON. How many messages it
has in hand is the one byte of FILE.PID, which can be read also while it is stopped.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict

from backstay.lifecycle import (
    Consumer,
    Delivery,
    Redelivery,
    SqliteInbox,
    SqliteTransaction,
    Subscription,
    once,
)

MAKE = "CREATE TABLE IF NOT EXISTS effect (message_id TEXT, at REAL, pid INTEGER)"
# A process that is paused for longer than its ack wait has done nothing wrong, and comes back.
RULE = Redelivery(max_attempts=99, first=0.1, most=0.5)


@asynccontextmanager
async def subscribed(broker: str, url: str, ack_wait: float) -> AsyncIterator[Subscription]:
    """Subscribe to a broker as an application would."""
    if broker == "redis":
        import redis.asyncio

        from backstay.integrations.redis_streams import RedisStreamSubscription

        client = redis.asyncio.Redis.from_url(url)
        async with RedisStreamSubscription(client, "orders", "g", ack_wait=ack_wait) as redis_one:
            yield redis_one
        await client.aclose()
    else:
        from nats_side import connected, subscription

        async with connected(url) as client, subscription(client, ack_wait) as nats_one:
            yield nats_one


async def main(broker: str, url: str, file: str, ack_wait: float) -> None:
    leave = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leave.set)
    async with (
        SqliteInbox(file, consumer="chaos") as inbox,
        subscribed(broker, url, ack_wait) as subscription,
    ):
        await inbox.run(lambda db: db.execute(MAKE))

        in_hand = 0
        tally = os.open(f"{file}.{os.getpid()}", os.O_CREAT | os.O_WRONLY)

        def count(more: int) -> None:
            nonlocal in_hand
            in_hand += more
            os.pwrite(tally, bytes([in_hand]), 0)

        async def handle(delivery: Delivery) -> None:
            async def effect(transaction: SqliteTransaction) -> None:
                row = (delivery.message_id, time.time(), os.getpid())
                await transaction.execute("INSERT INTO effect VALUES (?, ?, ?)", row)

            count(+1)
            try:
                await asyncio.sleep(0.05)  # so that there is mostly something in hand
                await once(inbox, delivery.message_id, effect)
            finally:
                count(-1)

        consumer = Consumer("chaos", subscription, handle, concurrency=8, redelivery=RULE)
        print("ready", flush=True)
        statistics = await consumer.run(leave)
    print(json.dumps(asdict(statistics)), flush=True)


if __name__ == "__main__":
    _, broker, url, file, ack_wait = sys.argv
    asyncio.run(main(broker, url, file, float(ack_wait)))
