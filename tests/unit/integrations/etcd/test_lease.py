"""Leases are kept, and known to be lost before the cluster gives what hung on them to others."""

from __future__ import annotations

import asyncio

import pytest

from backstay import Scope, now
from backstay.integrations.etcd import (
    EtcdClient,
    EtcdUnavailable,
    Lease,
    LeaseLost,
    MemoryEtcd,
)


async def test_a_lease_lives_as_long_as_its_block() -> None:
    """What hangs on it is there for as long, and gone with it."""
    cluster = MemoryEtcd()
    async with EtcdClient(cluster.members) as etcd:
        async with etcd.lease(6) as lease:
            await etcd.put("alive", b"", lease=lease.id)
            await asyncio.sleep(60)
            assert lease.alive
            assert lease.renewed == pytest.approx(30, abs=1)
            assert lease.longest_gap == pytest.approx(2.0, abs=0.01)
            lease.check()
            assert await etcd.get("alive") is not None
        assert await etcd.get("alive") is None
        assert not lease.alive


async def test_its_loss_is_known_here_before_it_is_known_there() -> None:
    """A cluster that does not answer has not taken it away yet when the callbacks are called."""
    cluster = MemoryEtcd()
    async with (
        EtcdClient(cluster.members) as etcd,
        EtcdClient(cluster.members) as other,
        etcd.lease(6) as lease,
    ):
        await etcd.put("alive", b"", lease=lease.id)
        for member in cluster.members:
            member.delay = 0.3  # the cluster counts from later than we do
        await asyncio.sleep(3)
        told: list[float] = []
        lease.on_lost(lambda: told.append(now()))
        there: list[float] = []
        lease.on_lost(lambda: there.append(cluster._store._leases[lease.id].ends - now()))
        lease.on_lost(lambda: 1 / 0)
        lease.on_lost(lambda: told.append(now()))
        for member in cluster.members:
            member.mood = "away"
        await lease.wait_lost()
        for member in cluster.members:
            member.mood = "well"
        assert len(told) == 2
        assert there == [pytest.approx(0.3, abs=0.01)]
        with pytest.raises(LeaseLost, match="has ended"):
            lease.check()
        lease.on_lost(lambda: told.append(0))
        assert told[-1] == 0
        await asyncio.sleep(6)
        assert await other.get("alive") is None


async def test_a_lease_that_the_cluster_does_not_know_is_lost() -> None:
    """Somebody has revoked it."""
    cluster = MemoryEtcd()
    async with EtcdClient(cluster.members) as etcd, etcd.lease(6) as lease:
        thief = Lease(etcd._asker, 6)
        thief.id, thief._asked = lease.id, True
        await thief._revoke()
        await lease.wait_lost()
        assert now() <= 2.01
        assert not lease.alive


async def test_a_grant_whose_answer_was_lost_is_ours() -> None:
    """The id is of our making: "already exists" can only mean this one."""
    cluster = MemoryEtcd()
    cluster.members[0].mood = "mute"
    async with EtcdClient(cluster.members) as etcd, etcd.lease(6) as lease:
        assert now() == pytest.approx(1.0, abs=0.01)
        assert lease.left == pytest.approx(5.0, abs=0.01)
        await etcd.put("alive", b"", lease=lease.id)


async def test_a_cluster_that_is_away_for_a_while_costs_no_lease() -> None:
    """Keep-alives are asked for again, five times a second."""
    cluster = MemoryEtcd()
    async with EtcdClient(cluster.members) as etcd, etcd.lease(9) as lease:
        for member in cluster.members:
            member.mood = "away"
        await asyncio.sleep(8)
        for member in cluster.members:
            member.mood = "well"
        await asyncio.sleep(9)
        assert lease.alive
        assert 6 < lease.longest_gap < 9


async def test_a_lease_can_be_cancelled_at_each_of_its_waits() -> None:
    """On entering, within, and on leaving: nothing is left to keep it alive."""

    async def hold(etcd: EtcdClient) -> None:
        async with etcd.lease(6):
            await asyncio.sleep(0)

    for steps in range(25):
        cluster = MemoryEtcd()
        async with EtcdClient(cluster.members) as etcd, Scope("test") as scope:
            task = scope.go(hold, etcd)
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            await asyncio.sleep(8)
            assert not cluster._store._leases


async def test_no_lease_without_a_cluster() -> None:
    """It is said in time, and a life that is too short is refused."""
    cluster = MemoryEtcd()
    for member in cluster.members:
        member.mood = "away"
    async with EtcdClient(cluster.members) as etcd:
        with pytest.raises(EtcdUnavailable):
            async with etcd.lease(6):
                pass
        assert now() == pytest.approx(
            6.0, abs=0.1
        )  # five to get one, one to be sure that there is none
        with pytest.raises(ValueError, match="2 seconds at least"):
            etcd.lease(1)
