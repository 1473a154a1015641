"""A JetStream stream is a subscription, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

import pytest
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.errors import NotFoundError
from nats_side import DURABLE, STREAM, SUBJECT, connected, empty, subscription

from backstay import now
from backstay.errors import LifecycleMisuse
from backstay.integrations.nats import JetStreamSubscription
from backstay.lifecycle import Consumer, Delivery, Redelivery
from backstay.testing.conformance import SubscriptionKit

pytestmark = [pytest.mark.real_loop, pytest.mark.slow]

ACK_WAIT = 1.0


class Bench:
    def __init__(self, client: Any, other: Any, ack_wait: float) -> None:
        self.client = client
        self.one = subscription(client, ack_wait)
        self.other = subscription(other, ack_wait)

    async def publish(self, payload: bytes, message_id: str, headers: Mapping[str, str]) -> None:
        await self.client.jetstream().publish(
            SUBJECT, payload, headers={**headers, "Nats-Msg-Id": message_id}
        )

    async def dead(self) -> list[tuple[str, str]]:
        jetstream = self.client.jetstream()
        info = await jetstream.stream_info(f"{STREAM}-{DURABLE}-dead")
        found = [
            await jetstream.get_msg(info.config.name, number)
            for number in range(1, info.state.messages + 1)
        ]
        return [
            (one.headers["Dead-Message-Id"], unquote(one.headers["Dead-Reason"])) for one in found
        ]


@asynccontextmanager
async def bench(url: str, ack_wait: float) -> AsyncIterator[Bench]:
    async with connected(url) as client, connected(url) as other:
        await empty(client)
        made = Bench(client, other, ack_wait)
        async with made.one, made.other:
            yield made


def kit(url: str = "") -> SubscriptionKit:
    return SubscriptionKit(lambda ack_wait: bench(url, ack_wait), ACK_WAIT)


@pytest.mark.parametrize("name", [str(case) for case in kit().cases()])
async def test_it_conforms(nats_url: str, name: str) -> None:
    """Each thing that the kit asks holds on a real server."""
    await next(case for case in kit(nats_url).cases() if case.name == name).run()


async def test_a_pull_brings_what_is_there_and_leaves_no_request_behind(nats_url: str) -> None:
    """Ten places and three messages: three at once; the fourth goes to whoever pulls next."""
    async with bench(nats_url, 5.0) as made:
        for number in range(3):
            await made.publish(b"x", f"m{number}", {})
        began = now()
        assert len(await made.one.pull(10, 3.0)) == 3
        assert now() - began < 0.5
        await made.publish(b"x", "m3", {})
        await asyncio.sleep(0.1)
        assert [one.message_id for one in await made.other.pull(10, 1.0)] == ["m3"]


async def test_what_came_too_late_is_given_back_when_it_leaves(nats_url: str) -> None:
    """A message that was on its way to a pull that was cut does not wait for its ack wait."""
    async with bench(nats_url, 30.0) as made:
        pull = asyncio.get_running_loop().create_task(made.one.pull(1, 5.0))
        await asyncio.sleep(0.1)
        pull.cancel()
        await asyncio.gather(pull, return_exceptions=True)
        await made.publish(b"x", "m", {})
        await asyncio.sleep(0.2)
        await made.one.__aexit__()
        found: list[Delivery] = []
        while not found:
            found += await made.other.pull(1, 1.0)
        assert [one.message_id for one in found] == ["m"]


async def test_an_ack_wait_that_the_server_has_goes_before(nats_url: str) -> None:
    """Two processes never disagree on how long a message is theirs."""
    async with bench(nats_url, 7.0) as made, subscription(made.client, 99.0) as third:
        assert third.ack_wait == 7.0
        assert third.stream == STREAM


async def test_what_would_lose_messages_is_refused(nats_url: str) -> None:
    """A durable consumer that gives up by itself, and dead letters that come back."""
    async with bench(nats_url, 5.0) as made:
        jetstream = made.client.jetstream()
        gives_up = ConsumerConfig(
            durable_name="gives_up", ack_policy=AckPolicy.EXPLICIT, max_deliver=3
        )
        await jetstream.add_consumer(STREAM, gives_up)
        with pytest.raises(LifecycleMisuse, match="max_deliver=3"):
            await JetStreamSubscription(made.client, SUBJECT, "gives_up").__aenter__()
        with pytest.raises(LifecycleMisuse, match="come back"):
            await JetStreamSubscription(
                made.client, SUBJECT, DURABLE, dead_subject=SUBJECT
            ).__aenter__()
        with pytest.raises(NotFoundError):
            await JetStreamSubscription(made.client, "nowhere", "g").__aenter__()
        with pytest.raises(LifecycleMisuse, match="async with"):
            await subscription(made.client, 1.0).pull(1, 1.0)
        with pytest.raises(ValueError, match="ack wait"):
            subscription(made.client, 0)


async def test_a_durable_consumer_that_was_deleted_is_made_again(nats_url: str) -> None:
    """Somebody has tidied up: it is missed by one pull."""
    async with bench(nats_url, 5.0) as made:
        await made.publish(b"x", "m", {})
        await made.client.jetstream().delete_consumer(STREAM, DURABLE)
        found: list[Delivery] = []
        async with asyncio.timeout(10):
            while not found:
                found += await made.one.pull(1, 0.5)
        assert [one.message_id for one in found] == ["m"]


async def test_a_connection_that_is_closed_is_an_error_at_once(nats_url: str) -> None:
    """It is for the consumer to ask again."""
    async with connected(nats_url) as client:
        await empty(client)
        async with subscription(client, 5.0) as one:
            await client.close()
            with pytest.raises(NatsError):
                await one.pull(1, 1.0)


async def test_a_consumer_on_a_stream(nats_url: str) -> None:
    """Failures come again after their back-off, poison goes to the dead letters, all else is done."""
    done: list[str] = []

    async def handle(delivery: Delivery) -> None:
        await asyncio.sleep(0.01)
        if delivery.payload == b"poison":
            raise ValueError("cannot be read")
        if delivery.message_id.endswith("3") and delivery.attempt == 1:
            raise OSError("not now")
        done.append(delivery.message_id)

    rule = Redelivery(first=0.1, most=0.1, poison=(ValueError,))
    async with bench(nats_url, 2.0) as made:
        for number in range(40):
            await made.publish(b"poison" if number == 7 else b"x", f"m{number}", {})
        async with Consumer("c", made.one, handle, redelivery=rule, concurrency=8) as consumer:
            async with asyncio.timeout(10):
                while len(done) < 39:
                    await asyncio.sleep(0.01)
        statistics = consumer.statistics()
        assert (statistics.acked, statistics.retried, statistics.dead) == (39, 4, 1)
        assert await made.dead() == [("m7", "ValueError: cannot be read")]
        info = await made.client.jetstream().consumer_info(STREAM, DURABLE)
        assert (info.num_ack_pending, info.num_pending) == (0, 0)
