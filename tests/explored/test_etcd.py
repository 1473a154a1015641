"""Watches and elections under many schedules, on a cluster in memory whose members fall ill meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from backstay import Scope
from backstay.integrations.etcd import Election, EtcdClient, LeadershipLost, MemoryEtcd, Put


async def fall_ill(cluster: MemoryEtcd, *courses: tuple[int, float, float]) -> None:
    """Let members be away for a while: number, from when, for how long."""

    async def course(number: int, after: float, lasting: float) -> None:
        await asyncio.sleep(after)
        cluster.members[number].mood = "away"
        await asyncio.sleep(lasting)
        cluster.members[number].mood = "well"

    async with Scope("illness") as scope:
        for one in courses:
            scope.go(course, *one)


@pytest.mark.explore(schedules=5_000, quick=150)
async def test_a_watch_tells_each_event_once_whoever_falls_ill_and_whoever_stops_reading() -> None:
    """A reader that is cancelled now and then is told what a reader of the history is told."""
    cluster = MemoryEtcd()
    told: list[int] = []
    async with EtcdClient(cluster.members) as etcd, EtcdClient(cluster.members[2:]) as other:

        async def write() -> None:
            for number in range(6):
                await other.put(f"k/{number}", b"")
                await asyncio.sleep(0.001)

        async with etcd.watch("k/") as watch:
            first = await watch.ready()

            async def read() -> None:
                while len(told) < 6:
                    told.append((await anext(watch)).revision)

            async with Scope("test") as scope:
                scope.go(write)
                scope.go(fall_ill, cluster, (0, 0.001, 0.002), (1, 0.002, 0.002))
                for _ in range(3):
                    reading = scope.go(read)
                    await asyncio.sleep(0.0015)
                    reading.cancel()
                    await asyncio.wait([reading])
                await read()
    assert told == list(range(first, first + 6))
    assert not any(member.streams for member in cluster.members)


@pytest.mark.explore(schedules=5_000, quick=150)
async def test_one_leads_at_a_time_whoever_falls_ill_and_whoever_leaves() -> None:
    """Tokens grow, no write of a former leader is taken, and nothing is left of those who left."""
    cluster = MemoryEtcd()
    leading: list[str] = []
    tokens: list[int] = []
    async with EtcdClient(cluster.members) as etcd:

        async def stand(name: str) -> None:
            try:
                async with Election(etcd, "e", value=name, ttl=6).lead() as leadership:
                    assert not leading
                    leading.append(name)
                    tokens.append(leadership.token)
                    try:
                        await asyncio.sleep(0.001)
                        done = await etcd.txn([leadership.holds()], [Put("k", name.encode())])
                        assert done.succeeded
                    finally:
                        leading.remove(name)
            except LeadershipLost:
                pass

        async with Scope("test") as scope:
            candidates = [scope.go(stand, name) for name in "abc"]
            scope.go(fall_ill, cluster, (0, 0.0005, 0.001), (1, 0.001, 0.001))
            await asyncio.sleep(0.001)
            candidates[1].cancel()
        assert tokens == sorted(set(tokens))
        assert len(tokens) >= 2
        await asyncio.sleep(7)
        assert not (await etcd.get_prefix("e/")).items
        assert not cluster._store._leases
    assert not any(member.streams for member in cluster.members)
