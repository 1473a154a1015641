"""The script in Redis says what `decide` says."""

from __future__ import annotations

import random

import pytest

from backstay.guard.rules.shared_quota import Ask, Entry, decide
from backstay.integrations.redis import RedisStore

pytestmark = [pytest.mark.real_loop, pytest.mark.slow]


async def test_the_script_decides_as_the_rule_does(redis_url: str) -> None:
    """A thousand questions in a row, each answered by both."""
    store = RedisStore.from_url(redis_url)
    dice = random.Random(7)
    due = 0
    for number in range(1000):
        burst = 2_000_000
        entries = tuple(
            Entry(dice.randint(1, 900_000), dice.choice([0, 1000, 500_000, 3_600_000_000]))
            for _ in range(dice.randint(0, 4))
        )
        want, back = dice.choice([0, 1, 700_000]), dice.choice([0, 0, 3, 2_000_000])
        ask = Ask("script", burst, entries, want, back, f"p{number % 3}", 15_000_000)
        answer = await store.ask(ask)
        due, granted, waits = decide(due, burst, entries, want, back, answer.now_us)
        assert (answer.granted_us, answer.waits_us) == (granted, waits), number
        assert answer.ahead_us == due - answer.now_us
        assert answer.processes == min(number + 1, 3)
    await store.aclose()


async def test_an_answer_that_makes_no_sense_is_refused(redis_url: str) -> None:
    """A server with a key of another kind under our name is an error, and not a limit."""
    import redis.asyncio

    client = redis.asyncio.Redis.from_url(redis_url)
    await client.delete("{backstay:rate:list}")
    await client.lpush("{backstay:rate:list}", "x")  # type: ignore[misc]
    await client.aclose()
    store = RedisStore.from_url(redis_url)
    with pytest.raises(redis.exceptions.ResponseError, match="WRONGTYPE"):
        await store.ask(Ask("list", 1, (), 0, 0, "p", 1))
    await store.aclose()
