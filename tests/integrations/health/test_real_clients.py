"""The ready-made checks with real clients and, where one can be had, a real server that is hung and killed."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import asyncpg
import grpc.aio
import nats
import psycopg_pool
import pytest
import redis.asyncio
from local_servers import start_again
from sqlalchemy.ext.asyncio import create_async_engine

from backstay import guard
from backstay.integrations.etcd import EtcdClient
from backstay.integrations.health import (
    etcd_answers,
    grpc_state,
    nats_state,
    pool_places,
    redis_ping,
    select_1,
)
from backstay.lifecycle import Health

pytestmark = [pytest.mark.real_loop, pytest.mark.slow]


async def until(health: Health, state: str) -> None:
    async with asyncio.timeout(15):
        while health.state != state:
            await asyncio.sleep(0.02)


async def test_a_redis_that_hangs_is_killed_and_comes_back(
    redis_server: Any, redis_url: str
) -> None:
    """Each is noticed within three checks, and so is the return; nothing hangs here meanwhile."""
    client = redis.asyncio.Redis.from_url(redis_url)
    health = Health()
    health.add("redis", redis_ping(client), timeout=0.3, interval=0.1)
    async with health:
        await until(health, "up")
        redis_server.send(signal.SIGSTOP)
        await until(health, "down")
        assert "timeout of 0.3 s" in health.records[0].error
        redis_server.send(signal.SIGCONT)
        await until(health, "up")
        redis_server.kill()
        await until(health, "down")
        assert "Connect" in health.records[0].error
        redis_server.start()
        await until(health, "up")
    await client.aclose()


async def test_a_nats_that_hangs_is_killed_and_comes_back(nats_server: Any) -> None:
    """A server that hangs is "connected" for two minutes; an answer is asked for."""
    client = await nats.connect(nats_server.url, reconnect_time_wait=0.1, error_cb=_ignore)
    health = Health()
    health.add("nats", nats_state(client), timeout=0.3, interval=0.1)
    async with health:
        await until(health, "up")
        nats_server.send(signal.SIGSTOP)
        await until(health, "down")
        assert client.is_connected
        nats_server.send(signal.SIGCONT)
        await until(health, "up")
        nats_server.kill()
        await until(health, "down")
        await asyncio.to_thread(start_again, nats_server)
        await until(health, "up")
    await client.close()


async def test_what_a_flush_that_was_cut_does_to_nats_py(nats_server: Any) -> None:
    """Stock: its late answer ends the reading task, and from then on a flush succeeds whoever is there.

    So `nats_state` asks in another way; when this fails, it may ask so again.
    """
    if not nats_server.alive():
        nats_server.start()
    client = await nats.connect(nats_server.url, allow_reconnect=False, error_cb=_ignore)
    try:
        nats_server.send(signal.SIGSTOP)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await client.flush()
        nats_server.send(signal.SIGCONT)
        await asyncio.sleep(0.5)
        nats_server.kill()
        await asyncio.sleep(0.2)
        await client.flush()
        assert client.is_connected
    finally:
        await client.close()


async def _ignore(error: Exception) -> None:
    """What the client would print: its server is killed on purpose."""


async def test_pools_of_asyncpg_and_psycopg_whose_server_is_killed_and_comes_back(
    postgres: Any,
) -> None:
    """Each over a connection of its pool, which it replaces by itself."""
    health = Health()
    async with (
        asyncpg.create_pool(postgres.url, min_size=1, max_size=2) as ours,
        psycopg_pool.AsyncConnectionPool(
            postgres.url,
            min_size=1,
            max_size=2,
            check=psycopg_pool.AsyncConnectionPool.check_connection,
        ) as theirs,
    ):
        health.add("asyncpg", select_1(ours), timeout=1.0, interval=0.1)
        health.add("psycopg", select_1(theirs), timeout=1.0, interval=0.1)
        async with health:
            await until(health, "up")
            await asyncio.to_thread(postgres.kill)
            await until(health, "down")
            async with asyncio.timeout(15):
                while not all(one.error for one in health.records):
                    await asyncio.sleep(0.02)
            await asyncio.to_thread(start_again, postgres)
            await until(health, "up")


async def test_an_etcd_without_a_majority(etcd_cluster: Any) -> None:
    """One member of three may hang; with two nobody can say what is true."""
    async with EtcdClient(etcd_cluster.endpoints) as client:
        health = Health()
        health.add("etcd", etcd_answers(client), timeout=2.0, interval=0.2)
        async with health:
            await until(health, "up")
            for node in etcd_cluster.nodes[:2]:
                node.send(signal.SIGSTOP)
            await until(health, "down")
            for node in etcd_cluster.nodes[:2]:
                node.send(signal.SIGCONT)
            await until(health, "up")


async def test_an_engine_of_sqlalchemy() -> None:
    """`select 1` over a connection of the pool."""
    engine = create_async_engine("sqlite+aiosqlite://")
    assert await select_1(engine)() == ""
    await engine.dispose()


async def test_a_channel_of_grpc_whose_server_comes_and_goes() -> None:
    """Idle passes; nobody there fails; there again passes."""
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.min_reconnect_backoff_ms", 100)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        check = grpc_state(channel)
        assert await check() in ("IDLE", "READY")
        await channel.channel_ready()
        assert await check() == "READY"
    await server.stop(0)
    async with grpc.aio.insecure_channel("127.0.0.1:1", options=options) as channel:
        health = Health()
        health.add("inventory", grpc_state(channel), interval=0.05)
        async with health:
            await until(health, "down")
        assert "the channel is" in health.records[0].error


async def test_a_pool_of_ours() -> None:
    """It says how full it is; a caller in line makes it fail."""

    async def connect() -> str:
        return "connection"

    async with guard.Pool(connect, name="db", max_open=1) as pool:
        check = pool_places(pool)
        assert await check() == "0 of 1 lent, 0 wait"
        async with pool.take():
            assert await check() == "1 of 1 lent, 0 wait"
            waiting = asyncio.ensure_future(wait(pool))
            await asyncio.sleep(0.05)
            with pytest.raises(Exception, match="1 of 1 lent, 1 wait"):
                await check()
        await waiting


async def wait(pool: Any) -> None:
    async with pool.take():
        pass
