"""A Redis stream is a subscription, on a real server, by either protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis.asyncio

from backstay.integrations.redis_streams import RedisStreamSubscription, publish
from backstay.lifecycle import Consumer, Delivery, Redelivery
from backstay.testing.conformance import SubscriptionCase, SubscriptionKit

pytestmark = [pytest.mark.real_loop, pytest.mark.slow]

ACK_WAIT = 1.0


class Bench:
    def __init__(self, client: Any, **options: Any) -> None:
        self.client = client
        self.one = RedisStreamSubscription(client, "orders", "g", **options)
        self.other = RedisStreamSubscription(client, "orders", "g", **options)

    async def publish(self, payload: bytes, message_id: str, headers: Mapping[str, str]) -> None:
        await publish(self.client, "orders", payload, message_id=message_id, headers=headers)

    async def dead(self) -> list[tuple[str, str]]:
        found = await self.client.xrange("orders:dead")
        return [
            (told(entry["message-id"]), told(entry["dead-reason"])) for _, entry in texts(found)
        ]


def told(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else value


def texts(found: Any) -> list[tuple[str, dict[str, Any]]]:
    return [
        (told(name), {told(key): value for key, value in entry.items()}) for name, entry in found
    ]


@asynccontextmanager
async def bench(url: str, ack_wait: float, **options: Any) -> AsyncIterator[Bench]:
    client = redis.asyncio.Redis.from_url(url, **options)
    try:
        await client.flushall()
        await client.script_flush()
        made = Bench(client, ack_wait=ack_wait)
        async with made.one, made.other:
            yield made
    finally:
        await client.aclose()


def kit(url: str = "", **options: Any) -> SubscriptionKit:
    return SubscriptionKit(lambda ack_wait: bench(url, ack_wait, **options), ACK_WAIT)


@pytest.mark.parametrize("name", [str(case) for case in kit().cases()])
async def test_it_conforms(redis_url: str, name: str) -> None:
    """Each thing that the kit asks holds on a real server."""
    await next(case for case in kit(redis_url).cases() if case.name == name).run()


@pytest.mark.parametrize("options", [{"protocol": 3}, {"decode_responses": True}], ids=str)
async def test_either_protocol_and_either_kind_of_answer_will_do(
    redis_url: str, options: dict[str, Any]
) -> None:
    """What answers look like is the client's choice."""
    cases: dict[str, SubscriptionCase] = {
        case.name: case for case in kit(redis_url, **options).cases()
    }
    await cases["delivers_all_in_order"].run()
    await cases["a_waiting_pull_is_answered_at_once"].run()
    await cases["what_is_given_back_comes_after_its_delay"].run()
    await cases["a_dead_letter_is_kept"].run()


async def test_what_another_has_claimed_is_not_ours_to_touch(redis_url: str) -> None:
    """One who was away for longer than the ack wait neither gives it back nor keeps it."""
    async with bench(redis_url, 0.3) as made:
        await made.publish(b"x", "m", {})
        (late,) = await made.one.pull(1, 1.0)
        await asyncio.sleep(0.35)
        (ours,) = await made.other.pull(1, 1.0)
        await made.one.nak(late, 0.0)
        await made.one.in_progress([late])
        assert list(await made.one.pull(1, 0.05)) == []
        ((_, _, idle, count),) = [
            tuple(one.values())
            for one in await made.client.xpending_range("orders", "g", "-", "+", 9)
        ]
        assert (count, idle < 300) == (2, True)
        await made.other.ack(ours)


async def test_an_attempt_without_blame_is_not_counted(redis_url: str) -> None:
    """A drain costs no message an attempt."""
    async with bench(redis_url, 5.0) as made:
        await made.publish(b"x", "m", {})
        for _ in range(3):
            (one,) = await made.one.pull(1, 1.0)
            assert one.attempt == 1
            await made.one.nak(one, 0.0, blame=False)


async def test_a_list_of_claims_longer_than_one_look_is_gone_through(redis_url: str) -> None:
    """Hundreds that somebody works on do not hide the one that nobody does."""
    async with bench(redis_url, 1.0) as made:
        for number in range(300):
            await made.publish(b"x", f"m{number}", {})
        mine: list[Delivery] = []
        while len(mine) < 300:
            mine += await made.one.pull(100, 0.5)
        await made.one.nak(mine[-1], 0.0)
        (found,) = await made.other.pull(1, 1.0)
        assert found.message_id == "m299"


async def test_settled_entries_may_be_deleted_and_consumers_leave(redis_url: str) -> None:
    """With one group nobody else needs them; a consumer without messages is no more in the group."""
    client = redis.asyncio.Redis.from_url(redis_url)
    await client.flushall()
    options: Any = {"ack_wait": 5.0, "delete_settled": True}
    async with RedisStreamSubscription(client, "s", "g", **options) as subscription:
        for name in ("a", "b"):
            await publish(client, "s", b"x", message_id=name)
        a, b = await subscription.pull(2, 1.0)
        await subscription.ack(a)
        await subscription.dead_letter(b, "why")
        assert await client.xlen("s") == 0
        assert await client.xlen("s:dead") == 1
        assert len(await client.xinfo_consumers("s", "g")) == 1
    assert await client.xinfo_consumers("s", "g") == []
    await publish(client, "s", b"x", message_id="c")
    async with RedisStreamSubscription(client, "s", "g", ack_wait=5.0) as subscription:
        await subscription.pull(1, 1.0)
    assert len(await client.xinfo_consumers("s", "g")) == 1, "it has something in hand"
    await client.aclose()


async def test_a_server_that_has_lost_its_memory_is_taken_as_it_is(redis_url: str) -> None:
    """Stream, group and scripts are gone: they are made again."""
    done: list[str] = []

    async def handle(delivery: Delivery) -> None:
        done.append(delivery.message_id)

    async with bench(redis_url, 5.0) as made, Consumer("c", made.one, handle):
        await made.publish(b"x", "before", {})
        await until(lambda: done == ["before"])
        await made.client.flushall()
        await made.client.script_flush()
        await made.publish(b"x", "after", {})
        await until(lambda: done == ["before", "after"])


async def test_an_entry_of_somebody_else_is_delivered_as_it_is(redis_url: str) -> None:
    """Without our fields the entry's id is the message's, and what is there are headers."""
    async with bench(redis_url, 5.0) as made:
        name = await made.client.xadd("orders", {"Kind": "x", "n": 1})
        (one,) = await made.one.pull(1, 1.0)
        assert (one.id, one.message_id, one.payload) == (name.decode(), name.decode(), b"")
        assert one.headers == {"kind": "x", "n": "1"}


async def test_wrong_use_is_told(redis_url: str) -> None:
    """An ack wait of nothing, and a key that is no stream."""
    client = redis.asyncio.Redis.from_url(redis_url)
    with pytest.raises(ValueError, match="ack wait"):
        RedisStreamSubscription(client, "s", "g", ack_wait=0)
    await client.set("text", "x")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        await RedisStreamSubscription(client, "text", "g").__aenter__()
    await client.aclose()


async def test_a_consumer_on_a_stream(redis_url: str) -> None:
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
    async with bench(redis_url, 2.0) as made:
        for number in range(40):
            await made.publish(b"poison" if number == 7 else b"x", f"m{number}", {})
        async with Consumer("c", made.one, handle, redelivery=rule, concurrency=8) as consumer:
            await until(lambda: len(done) == 39)
        statistics = consumer.statistics()
        assert (statistics.acked, statistics.retried, statistics.dead) == (39, 4, 1)
        assert await made.dead() == [("m7", "ValueError: cannot be read")]
        assert (await made.client.xpending("orders", "g"))["pending"] == 0


async def until(true: Any, seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.01)
