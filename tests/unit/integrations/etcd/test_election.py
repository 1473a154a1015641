"""One leads; whoever is replaced knows it before the next one begins, and cannot write any more."""

from __future__ import annotations

import asyncio

import pytest

from backstay import Scope, now
from backstay.integrations.etcd import (
    Election,
    EtcdClient,
    Leadership,
    LeadershipLost,
    MemoryEtcd,
    Put,
)


async def serve(etcd: EtcdClient, name: str, log: list[str], seconds: float) -> None:
    """Lead for a while."""
    async with Election(etcd, "e", value=name, ttl=6).lead() as leadership:
        log.append(f"{name} leads {leadership.token}")
        try:
            await asyncio.sleep(seconds)
        finally:
            log.append(f"{name} ends")


async def test_candidates_lead_in_the_order_in_which_they_came() -> None:
    """One at a time, each with a greater token; nobody leads when all have resigned."""
    cluster, log = MemoryEtcd(), list[str]()
    async with EtcdClient(cluster.members) as etcd:
        async with Scope("test") as scope:
            for name in "abc":
                scope.go(serve, etcd, name, log, 10.0)
                await asyncio.sleep(0.1)
            leader = await Election(etcd, "e").leader()
            assert leader is not None
            assert leader.value == b"a"
        assert [line[:7] for line in log] == [
            "a leads",
            "a ends",
            "b leads",
            "b ends",
            "c leads",
            "c ends",
        ]
        tokens = [int(line.split()[2]) for line in log if "leads" in line]
        assert tokens == sorted(set(tokens))
        assert await Election(etcd, "e").leader() is None
        assert 30 <= now() < 31


async def test_a_candidate_that_leaves_the_queue_makes_nobody_lead() -> None:
    """The one behind it waits for the one before it."""
    cluster, log = MemoryEtcd(), list[str]()
    async with EtcdClient(cluster.members) as etcd, Scope("test") as scope:
        scope.go(serve, etcd, "a", log, 10.0)
        await asyncio.sleep(0.1)
        middle = scope.go(serve, etcd, "b", log, 10.0)
        await asyncio.sleep(0.1)
        scope.go(serve, etcd, "c", log, 1.0)
        await asyncio.sleep(0.1)
        middle.cancel()
        await asyncio.sleep(5)
        assert len(log) == 1
    assert [line[:1] for line in log] == ["a", "a", "c", "c"]


async def test_a_leader_without_a_cluster_ends_before_its_lease_does() -> None:
    """Its block is cancelled; what it writes late is refused; the next one leads after that."""
    cluster, log = MemoryEtcd(), list[str]()
    mine, theirs = cluster.members[:1], cluster.members[1:]
    async with EtcdClient(mine) as etcd, EtcdClient(theirs) as other:
        seen: list[Leadership] = []
        cut = 0.0
        async with Scope("test") as scope:
            with pytest.raises(LeadershipLost, match="its lease is lost"):
                async with Election(etcd, "e", ttl=6).lead() as leadership:
                    seen.append(leadership)
                    scope.go(serve, other, "b", log, 1.0)
                    await asyncio.sleep(1)
                    leadership.check()
                    mine[0].mood = "away"
                    try:
                        await asyncio.sleep(60)
                    finally:
                        cut = now()
                        assert not log
                        assert not leadership.leads
            while not log:
                await asyncio.sleep(0.01)
            assert cut <= now()
            mine[0].mood = "well"
            late = await etcd.txn([seen[0].holds()], [Put("k", b"late")])
            assert not late.succeeded
            assert int(log[0].split()[2]) > seen[0].token
            with pytest.raises(LeadershipLost):
                seen[0].check()
            await seen[0].wait_lost()


async def test_a_leader_whose_key_is_deleted_leads_no_more() -> None:
    """Somebody has taken it away by hand."""
    cluster = MemoryEtcd()
    async with EtcdClient(cluster.members) as etcd:
        with pytest.raises(LeadershipLost, match="its key was deleted"):
            async with Election(etcd, "e").lead() as leadership:
                await asyncio.sleep(5)
                await etcd.delete(leadership.key)
                await asyncio.sleep(60)
        assert now() < 6


async def test_a_candidate_whose_key_is_deleted_stands_again() -> None:
    """It does not lead without one."""
    cluster, log = MemoryEtcd(), list[str]()
    async with EtcdClient(cluster.members) as etcd, Scope("test") as scope:
        scope.go(serve, etcd, "a", log, 5.0)
        await asyncio.sleep(0.1)
        scope.go(serve, etcd, "b", log, 1.0)
        await asyncio.sleep(0.1)
        waiting = max(
            (await etcd.get_prefix("e/")).items.values(), key=lambda one: one.create_revision
        )
        await etcd.delete(waiting.key)
        await asyncio.sleep(5)
        leader = await Election(etcd, "e").leader()
        assert leader is not None
        assert log[2] == f"b leads {leader.create_revision}"
        assert leader.create_revision > waiting.create_revision


async def test_a_candidate_without_a_cluster_gives_up_with_its_lease() -> None:
    """It says why; it might otherwise lead when its turn has long passed."""
    cluster, log = MemoryEtcd(), list[str]()
    mine, theirs = cluster.members[:1], cluster.members[1:]
    async with (
        EtcdClient(mine) as etcd,
        EtcdClient(theirs) as other,
        Scope("test", on_error="collect") as scope,
    ):
        scope.go(serve, other, "a", log, 20.0)
        await asyncio.sleep(0.1)
        waiting = asyncio.get_running_loop().create_task(serve(etcd, "b", log, 1.0))
        await asyncio.sleep(1)
        mine[0].mood = "away"
        with pytest.raises(LeadershipLost, match="before it could lead"):
            await waiting
        assert now() < 9
        mine[0].mood = "well"
    assert [line[:1] for line in log] == ["a", "a"]


async def test_a_write_of_a_candidate_that_may_have_happened_is_looked_up() -> None:
    """It stands with the key that it has put, and leads with its token."""
    cluster = MemoryEtcd()
    async with EtcdClient(cluster.members) as etcd:
        before = cluster.revision

        async def fall_mute() -> None:
            while etcd.statistics().calls < 2:  # the first gets the lease
                await asyncio.sleep(0)
            cluster.members[0].mood = "mute"

        async with Scope("test") as scope:
            scope.go(fall_mute)
            async with Election(etcd, "e", ttl=9).lead() as leadership:
                assert leadership.token == before + 1
                assert cluster.revision == before + 1
                assert etcd.statistics().unsure == 1


async def test_standing_can_be_cancelled_at_each_of_its_waits() -> None:
    """No key and no lease is left behind."""
    for steps in range(60):
        cluster, log = MemoryEtcd(), list[str]()
        async with EtcdClient(cluster.members) as etcd, Scope("test") as scope:
            task = scope.go(serve, etcd, "a", log, 0.0)
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            await asyncio.sleep(8)
            assert not (await etcd.get_prefix("e/")).items
            assert not cluster._store._leases
            assert not any(member.streams for member in cluster.members)


async def test_an_election_has_a_name() -> None:
    """Keys below "/" would be everybody's."""
    with pytest.raises(ValueError, match="has a name"):
        Election(EtcdClient(MemoryEtcd().members), "")
