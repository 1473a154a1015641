"""Ready-made checks: what passes, what fails, and in which words. Real clients: tests/integrations/health."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from backstay.integrations.health import (
    NotHealthy,
    cache_age,
    grpc_state,
    nats_state,
    pool_places,
    redis_ping,
    select_1,
)


async def test_the_age_of_a_cache() -> None:
    """Nothing yet, fresh, too old."""
    age: float | None = None
    check = cache_age(lambda: age, 60.0)
    with pytest.raises(NotHealthy, match="nothing was fetched yet"):
        await check()
    age = 12.34
    assert await check() == "12.3 s old"
    age = 61.0
    with pytest.raises(NotHealthy, match="61 s old, and good for 60 s"):
        await check()


async def test_the_places_of_a_pool() -> None:
    """Full alone is no failure; full with somebody waiting is."""
    found = SimpleNamespace(max_open=10, in_use=10, waiting=0)
    check = pool_places(SimpleNamespace(statistics=lambda: found))
    assert await check() == "10 of 10 lent, 0 wait"
    found.waiting = 2
    with pytest.raises(NotHealthy, match="10 of 10 lent, 2 wait"):
        await check()
    assert (
        await pool_places(SimpleNamespace(statistics=lambda: found), waiting=5)()
        == "10 of 10 lent, 2 wait"
    )


@pytest.mark.parametrize("state", ["READY", "IDLE", "CONNECTING", "TRANSIENT_FAILURE", "SHUTDOWN"])
async def test_the_state_of_a_channel(state: str) -> None:
    """Idle channels pass, and are told to connect."""
    asked: list[bool] = []

    def get_state(try_to_connect: bool) -> Any:
        asked.append(try_to_connect)
        return SimpleNamespace(name=state)

    check = grpc_state(SimpleNamespace(get_state=get_state))
    if state in ("READY", "IDLE"):
        assert await check() == state
    else:
        with pytest.raises(NotHealthy, match=f"the channel is {state}"):
            await check()
    assert asked == [True]


async def test_the_state_of_a_nats_connection() -> None:
    """Connected and answering; otherwise the state and its last error."""
    answers = True
    heard: list[Any] = []

    async def subscribe(subject: str, cb: Any) -> None:
        heard.append(cb)

    async def publish(subject: str, data: bytes) -> None:
        if answers:
            await heard[0](SimpleNamespace(data=data))

    client = SimpleNamespace(
        is_connected=True,
        new_inbox=lambda: "inbox",
        subscribe=subscribe,
        publish=publish,
        last_error=None,
    )
    check = nats_state(client)
    assert await check() == ""
    answers = False
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(check(), 1.0)
    answers = True
    assert await check() == ""
    assert len(heard) == 1, "one subscription, whatever becomes of the questions"
    client.is_connected, client.is_reconnecting, client.last_error = False, True, OSError("refused")
    with pytest.raises(NotHealthy, match="reconnecting; last error: refused"):
        await nats_state(client)()
    client.is_reconnecting = False
    with pytest.raises(NotHealthy, match="the connection is away"):
        await nats_state(client)()


async def test_whatever_a_client_raises_is_the_failure() -> None:
    """A ping that is refused, a question that is."""

    async def refuse(*_: object) -> None:
        raise ConnectionError("refused")

    with pytest.raises(ConnectionError):
        await redis_ping(SimpleNamespace(ping=refuse))()
    with pytest.raises(ConnectionError):
        await select_1(SimpleNamespace(fetchval=refuse))()


async def test_the_smallest_question() -> None:
    """Asked in the way of each library; of something else it is a mistake that is told."""
    asked: list[str] = []

    async def ask(question: str) -> int:
        asked.append(question)
        return 1

    @asynccontextmanager
    async def connect() -> Any:
        yield SimpleNamespace(execute=ask, exec_driver_sql=ask)

    for database in ({"fetchval": ask}, {"connection": connect}, {"connect": connect}):
        assert await select_1(SimpleNamespace(**database))() == ""
    assert asked == ["select 1"] * 3
    with pytest.raises(TypeError, match="is expected, not int"):
        select_1(3)
