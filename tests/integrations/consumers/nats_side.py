"""How the tests connect to NATS, in this process and in those that it starts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import nats
from nats.js.errors import NotFoundError

from backstay.integrations.nats import JetStreamSubscription

__all__ = ["connected", "empty", "subscription"]

STREAM, SUBJECT, DURABLE = "orders", "orders.paid", "g"


async def quiet(error: Exception) -> None:
    """Say nothing: the tests break connections on purpose."""


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    """Connect as an application should: soon again, and for ever."""
    client = await nats.connect(
        url, max_reconnect_attempts=-1, reconnect_time_wait=0.2, connect_timeout=1, error_cb=quiet
    )
    try:
        yield client
    finally:
        await client.close()


async def empty(client: Any) -> None:
    """Make the stream anew, and nothing else."""
    jetstream = client.jetstream()
    for name in (STREAM, f"{STREAM}-{DURABLE}-dead"):
        try:
            await jetstream.delete_stream(name)
        except NotFoundError:
            pass
    await jetstream.add_stream(name=STREAM, subjects=[SUBJECT])


def subscription(client: Any, ack_wait: float) -> JetStreamSubscription:
    """Subscribe as one of the group."""
    return JetStreamSubscription(client, SUBJECT, DURABLE, ack_wait=ack_wait)
